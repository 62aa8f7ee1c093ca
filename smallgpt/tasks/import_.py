"""`task=import` makes a run directory of another program's checkpoint: GPT-2 of transformers, or nanoGPT's."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallgpt.errors import UserError
from smallgpt.settings import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from smallgpt.models.gpt import GPT

TOLERANCE = 1e-5
"""Largest difference of logits in fp32, relative to the largest logit."""
TOKENS = 64  # of the text that both models read, as far as the context has room


def run(settings: Settings, run_dir: Path) -> dict[str, Any]:
    """Writes `checkpoints/best`, compared with the model that it was; returns the sections `cost` and `import`."""
    from smallgpt.contract.required import require_contract
    from smallgpt.data.tokenizers import load_tokenizer
    from smallgpt.files import size_of, whole_folder
    from smallgpt.inference.checkpoint import resolved_checkpoint
    from smallgpt.inference.foreign_checkpoint import load_foreign, read_foreign
    from smallgpt.model_folder import write_context_length, write_model
    from smallgpt.models.cost import cost
    from smallgpt.reporting.tables import print_pairs

    (checkpoint,) = settings.checkpoint
    require_contract(settings.model_class, settings.model, settings.cache_dir, f"checkpoint={checkpoint}: as model=gpt")
    tokenizer = load_tokenizer(settings.tokenizer.name)
    model, original = load_foreign(checkpoint, settings.model)
    difference = None if original is None else logit_difference(model, original, len(tokenizer))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.eos_token_id
    target = run_dir / "checkpoints" / "best"
    with whole_folder(target) as folder:
        write_model(model, folder)
        tokenizer.save_pretrained(folder)
        write_context_length(folder, model.config.block_size)
    price = cost(settings.model)
    section = {
        "program": read_foreign(checkpoint).program,
        "path": str(target),
        "bytes": size_of(target),
        "parameters": price.parameters,
        "vocabulary": settings.model.vocab_size,
        "context": settings.model.block_size,
        "tokenizer": settings.tokenizer.name,
        "largest_logit_difference": difference,
    }
    print_pairs("import", {name.replace("_", " "): value for name, value in section.items() if value is not None})
    return {"checkpoint": resolved_checkpoint(checkpoint), "cost": price.to_dict(), "import": section}


def logit_difference(model: "GPT", original: "PreTrainedModel", vocabulary: int) -> float:
    """Largest difference between the logits of two models on a random text; raises UserError over rounding."""
    import torch

    length = min(TOKENS, model.config.block_size)
    ids = torch.randint(vocabulary, (2, length), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours, theirs = (each.eval()(input_ids=ids, use_cache=False).logits for each in (model, original))
    difference, most = float((ours - theirs).abs().max()), TOLERANCE * float(theirs.abs().max())
    if not difference <= most:
        raise UserError(f"task=import: the logits differ by {difference:.2g}, more than {most:.2g}: not the same model")
    return difference
