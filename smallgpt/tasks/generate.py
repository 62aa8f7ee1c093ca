"""task=generate: text from a checkpoint."""

from pathlib import Path
from typing import Any

from smallgpt.errors import UserError
from smallgpt.settings import Settings


def run(settings: Settings, run_dir: Path) -> dict[str, Any]:
    """Prints one continuation of the prompt and returns it in `samples`."""
    if settings.checkpoint is None:
        raise UserError("checkpoint=null: task=generate needs a run directory, a model folder or a hub name")
    from smallgpt.inference.checkpoint import load
    from smallgpt.inference.generate import generate
    from smallgpt.training.hardware import device

    model_type = settings.model.model_type if "model" in settings.chosen else None
    where = device(settings.trainer.accelerator)
    model, tokenizer = load(settings.checkpoint, model_type)
    text = generate(model.to(where), tokenizer, settings.prompt or "", settings.generation, settings.seed)
    print(text)
    return {"checkpoint": settings.checkpoint, "samples": [text]}
