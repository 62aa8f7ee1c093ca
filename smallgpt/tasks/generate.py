"""task=generate: text from a checkpoint."""

from pathlib import Path
from typing import Any

from smallgpt.errors import UserError
from smallgpt.settings import Settings


def run(settings: Settings, run_dir: Path) -> dict[str, Any]:
    """Prints one continuation of the prompt and returns it in `samples`."""
    if len(settings.checkpoint) != 1:
        given = list(settings.checkpoint) or "null"
        raise UserError(f"checkpoint={given}: task=generate needs one run directory, model folder or hub name")
    (checkpoint,) = settings.checkpoint
    from smallgpt.inference import onnx_engine

    model_type = settings.model.model_type if "model" in settings.chosen else None
    if folder := onnx_engine.find(checkpoint):
        text = from_graph(settings, folder, model_type)
    else:
        text = from_weights(settings, checkpoint, model_type)
        print(text)
    return {"checkpoint": checkpoint, "samples": [text]}


def from_weights(settings: Settings, checkpoint: str, model_type: str | None) -> str:
    from smallgpt.inference.checkpoint import load
    from smallgpt.inference.generate import generate
    from smallgpt.training.hardware import device

    where = device(settings.trainer.accelerator)
    model, tokenizer = load(checkpoint, model_type)
    return generate(model.to(where), tokenizer, settings.prompt or "", settings.generation, settings.seed)


def from_graph(settings: Settings, folder: Path, model_type: str | None) -> str:
    """Also prints it, token by token."""
    from smallgpt.inference.onnx_engine import OnnxEngine

    if settings.quantize != "none":
        raise UserError(f"quantize={settings.quantize}: an ONNX folder is quantized by task=export; leave it out")
    if settings.trainer.accelerator == "gpu":
        raise UserError("trainer.accelerator=gpu: an ONNX folder runs on the CPU; use trainer=cpu")
    engine = OnnxEngine(folder, settings.trainer.threads)
    engine.check_type(model_type)
    text = ""
    for (piece,) in engine.generate([settings.prompt or ""], settings.generation, settings.seed):
        print(piece, end="", flush=True)
        text += piece
    print()
    return text
