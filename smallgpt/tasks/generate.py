"""`task=generate` continues prompts with a checkpoint, or with an exported ONNX folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallgpt.errors import UserError, shown
from smallgpt.notices import show
from smallgpt.settings import Settings

MOST_DRAWN = 2**24  # categories that PyTorch draws from; beams draw from the tokens of all of them together

if TYPE_CHECKING:
    import torch

    from smallgpt.inference.checkpoint import Wanted


def run(settings: Settings, run_dir: Path) -> dict[str, Any]:
    """Prints a continuation of each prompt, a single one as it is made, and returns them in `samples`."""
    if len(settings.checkpoint) != 1:
        given = list(settings.checkpoint) or "null"
        raise UserError(f"checkpoint={given}: task=generate needs one run directory, model folder or hub name")
    from smallgpt.inference import onnx_engine
    from smallgpt.inference.checkpoint import check_checkpoints, variant_of, wanted
    from smallgpt.machine.cores import use_threads
    from smallgpt.machine.device import device

    use_threads(settings.trainer.threads)
    (checkpoint,) = settings.checkpoint
    prompts = settings.prompt or ("",)
    live = len(prompts) == 1 and settings.generation.num_beams == 1 and not settings.generation.stop
    asked, where = wanted(settings), device(settings.trainer.accelerator)
    check_checkpoints(settings.checkpoint, asked, settings.cache_dir)
    if folder := onnx_engine.find_onnx_folder(checkpoint):
        texts = from_graph(settings, folder, prompts, asked, where, live)
    else:
        texts = from_weights(settings, checkpoint, prompts, asked, where, live)
    if not live:
        show("\n---\n".join(texts))
    return {"checkpoint": checkpoint, "variant": variant_of(checkpoint), "samples": texts}


def from_weights(
    settings: Settings, checkpoint: str, prompts: Sequence[str], asked: "Wanted", where: "torch.device", live: bool
) -> list[str]:
    """Prompts with their continuations by a checkpoint; `live` prints the single one as it is made."""
    from smallgpt.inference.checkpoint import load_checkpoint
    from smallgpt.inference.generate import generate
    from smallgpt.inference.printed_text import PrintedText
    from smallgpt.inference.steps import decoding_steps
    from smallgpt.inference.weight_formats import check_quantize, for_inference, usual_format

    beams = settings.generation.num_beams
    quantize = usual_format(settings.quantize, "quantize" in settings.chosen, where)
    check_quantize(quantize, where, bool(settings.compile))
    if settings.compile and beams > 1:
        raise UserError(f"compile=true: decodes without beams; leave it out, or generation.num_beams={beams}")
    model, tokenizer = load_checkpoint(checkpoint, asked)
    if beams > (most := MOST_DRAWN // model.config.vocab_size):
        raise UserError(f"generation.num_beams={beams}: must be at most {most} with {model.config.vocab_size} tokens")
    model = for_inference(model.to(where), quantize, bool(settings.compile))
    steps = decoding_steps(model, settings.compile)
    streamer = PrintedText(tokenizer, skip_special_tokens=True) if live else None
    return generate(model, tokenizer, prompts, settings.generation, settings.seed, streamer, steps)


def from_graph(
    settings: Settings, folder: Path, prompts: Sequence[str], asked: "Wanted", where: "torch.device", live: bool
) -> list[str]:
    """Prompts with their continuations by an ONNX folder; `live` prints the single one as it is made."""
    from smallgpt.inference.onnx_engine import OnnxEngine, until_stop

    refuse_for_graphs(settings, asked, where)
    engine = OnnxEngine(folder, settings.trainer.threads)
    engine.check_type(asked.model_type)
    pieces = engine.generate(prompts, settings.generation, settings.seed)
    begun = next(pieces)
    made = ["" for _ in prompts]
    if live:
        show(begun[0], end="")
    for new in pieces:
        made = [text + piece for text, piece in zip(made, new, strict=True)]
        if live:
            show(new[0], end="")
    if live:
        show("")
    stops = settings.generation.stop
    return [prompt + until_stop(text, stops) for prompt, text in zip(begun, made, strict=True)]


def refuse_for_graphs(settings: Settings, asked: "Wanted", where: "torch.device") -> None:
    """Raises UserError for what an ONNX folder cannot do."""
    for name, value in (asked.fields | asked.at_inference).items():
        raise UserError(f"model.{name}={shown(value)}: an ONNX folder runs as it was exported; leave it out")
    if settings.quantize != "none":
        raise UserError(f"quantize={settings.quantize}: an ONNX folder is quantized by task=export; leave it out")
    if settings.compile:
        raise UserError("compile=true: an ONNX folder is compiled as it is; leave it out")
    if where.type != "cpu":
        raise UserError(
            f"trainer.accelerator={settings.trainer.accelerator}: an ONNX folder runs on the CPU; use trainer=cpu"
        )
