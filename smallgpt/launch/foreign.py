"""An import: the model and tokenizer of another program's checkpoint take the place of those that were composed."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from smallgpt.errors import UserError
from smallgpt.settings import one_or_several

MOST_PADDING = 128  # rows that a vocabulary may have beyond the tokens of a tokenizer that a user names for it


def of_foreign(plain: dict[str, Any], chosen: Collection[str]) -> tuple[dict[str, Any], str]:
    """A config whose model is that of a foreign checkpoint, with a tokenizer that fits it, and the variant's name.

    The tokenizer is the checkpoint's own, or the one that the command line names.

    Raises:
        UserError: there is no such checkpoint, the model does not map to GPT, or no tokenizer fits it.
    """
    from smallgpt.data.tokenizers import Pretrained
    from smallgpt.inference.checkpoint import resolved_checkpoint
    from smallgpt.inference.foreign_checkpoint import read_foreign
    from smallgpt.models.gpt import GPT

    several = [str(each) for each in one_or_several(plain["checkpoint"])]
    if len(several) != 1:
        raise UserError(f"checkpoint={several or 'null'}: task=import needs one model folder, hub name or nanoGPT file")
    (checkpoint,) = several
    found = read_foreign(checkpoint)
    named = any(key == "tokenizer" or key.startswith("tokenizer.") for key in chosen)
    name = named_tokenizer(checkpoint, plain["tokenizer"]) if named else found.tokenizer
    if name is None:
        raise UserError(
            f"checkpoint={checkpoint}: has no tokenizer; name the one it was trained with, tokenizer=gpt2 "
            "or tokenizer=pretrained tokenizer.name=<folder>"
        )
    tokens = fitting(checkpoint, name, named, found.config.vocab_size)
    values = {key: getattr(found.config, key) for key in found.config.settable()}
    folder = Path(name).expanduser()
    changed = {
        "checkpoint": resolved_checkpoint(checkpoint),
        "model": {"_target_": f"{GPT.__module__}.{GPT.__qualname__}", **values},
        "tokenizer": {
            "_target_": f"{Pretrained.__module__}.{Pretrained.__qualname__}",
            "name": str(folder.resolve()) if folder.is_dir() else name,
            "vocab_size": tokens,
        },
    }
    return {**plain, **changed}, "gpt"


def named_tokenizer(checkpoint: str, tokenizer: Any) -> str:
    """Folder or hub name of the tokenizer that a command line names; raises UserError for one yet to be trained."""
    name = tokenizer.get("name") if isinstance(tokenizer, dict) else None
    if name is None:
        raise UserError(
            f"tokenizer: checkpoint={checkpoint} knows its tokens already, and no new ones can be trained; "
            "tokenizer=gpt2, or tokenizer=pretrained tokenizer.name=<folder>"
        )
    return str(name)


def fitting(checkpoint: str, name: str, named: bool, rows: int) -> int:
    """Number of a tokenizer's tokens; raises UserError where a model with so many rows cannot be theirs."""
    from smallgpt.data.tokenizers import load_tokenizer

    tokens = len(load_tokenizer(name))
    if tokens > rows or (named and rows >= tokens + MOST_PADDING):
        key = f"tokenizer.name={name}" if named else f"checkpoint={checkpoint}: its tokenizer"
        raise UserError(
            f"{key}: has {tokens:,} tokens, and the model {rows:,}; name the one it was trained with, tokenizer=gpt2 "
            "or tokenizer=pretrained tokenizer.name=<folder>"
        )
    return tokens
