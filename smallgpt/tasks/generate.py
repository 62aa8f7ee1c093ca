"""task=generate: text from a checkpoint."""

from pathlib import Path
from typing import Any

from smallgpt.errors import UserError
from smallgpt.settings import Settings


def run(settings: Settings, run_dir: Path) -> dict[str, Any]:
    """Prints a continuation of each prompt, a single one as it is made, and returns them in `samples`."""
    if len(settings.checkpoint) != 1:
        given = list(settings.checkpoint) or "null"
        raise UserError(f"checkpoint={given}: task=generate needs one run directory, model folder or hub name")
    from transformers import TextStreamer

    from smallgpt.inference.checkpoint import load
    from smallgpt.inference.generate import generate
    from smallgpt.inference.packing import for_inference
    from smallgpt.training.hardware import device

    (checkpoint,) = settings.checkpoint
    prompts = settings.prompt or ("",)
    model_type = settings.model.model_type if "model" in settings.chosen else None
    where = device(settings.trainer.accelerator)
    model, tokenizer = load(checkpoint, model_type)
    model = for_inference(model.to(where), settings.quantize)
    live = len(prompts) == 1 and settings.generation.num_beams == 1 and not settings.generation.stop
    streamer = TextStreamer(tokenizer, skip_special_tokens=True) if live else None
    texts = generate(model, tokenizer, prompts, settings.generation, settings.seed, streamer)
    if not live:
        print("\n---\n".join(texts))
    return {"checkpoint": checkpoint, "samples": texts}
