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
    from smallgpt.inference.checkpoint import load
    from smallgpt.inference.generate import generate
    from smallgpt.training.hardware import device

    model_type = settings.model.model_type if "model" in settings.chosen else None
    where = device(settings.trainer.accelerator)
    model, tokenizer = load(checkpoint, model_type)
    text = generate(model.to(where), tokenizer, settings.prompt or "", settings.generation, settings.seed)
    print(text)
    return {"checkpoint": checkpoint, "samples": [text]}
