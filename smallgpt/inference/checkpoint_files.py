"""Files of a checkpoint's folder: what is wrong with them is said before, or instead of, what a library makes of it."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from smallgpt.data.hub import quiet_library
from smallgpt.errors import UserError, one_line, shown
from smallgpt.models.configuration import DecoderConfig

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
OWN_CODE = "trust_remote_code"  # in what the library says of a folder that brings code


def damaged(checkpoint: str, what: str, why: BaseException | str) -> UserError:
    """Error that names a damaged file of a checkpoint, what is wrong with it, and what to do."""
    reason = shown(one_line(why) if isinstance(why, BaseException) else why).rstrip(".")
    if isinstance(why, BaseException) and OWN_CODE in str(why):
        return UserError(
            f"checkpoint={checkpoint}: brings code of its own, which is never run; name a model of a type that "
            "transformers knows"
        )
    return UserError(
        f"checkpoint={checkpoint}: {what} cannot be loaded, missing or damaged ({reason}); copy it again, or name "
        "another checkpoint"
    )


def check_weight_files(checkpoint: str, folder: Path) -> None:
    """Raises UserError for weights that cannot be read, lie outside the folder, or are a pickle; reads only headers.

    What is no folder is a name on the hub.
    """
    if not folder.is_dir():
        return
    for path in weight_files(checkpoint, folder):
        try:
            with safe_open(path, "pt") as file:
                file.keys()
        except Exception as error:
            raise damaged(checkpoint, path.name, error) from error


def weight_files(checkpoint: str, folder: Path) -> Iterable[Path]:
    """The files that hold a folder's weights: one, or those that its index names."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        if pickle := next((name for name in PICKLES if (folder / name).is_file()), None):
            raise UserError(
                f"checkpoint={checkpoint}: {pickle} is a pickle, which can run code and is not read; "
                f"save the weights as {WEIGHTS}"
            )
        raise damaged(checkpoint, WEIGHTS, "no such file")
    try:
        names = {str(name) for name in json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()}
    except Exception as error:
        raise damaged(checkpoint, INDEX, error) from error
    for name in sorted(names):
        if Path(name).name != name:
            raise UserError(
                f"checkpoint={checkpoint}: {INDEX} names {shown(name)}, outside of the folder, which is not read"
            )
    return [folder / name for name in sorted(names)]


def check_weights(checkpoint: str, model: PreTrainedModel, report: dict[str, Any]) -> None:
    """Raises UserError for weights that are missing, of another shape, or no numbers."""
    # the library fills missing weights, and those of another shape, with random numbers
    if missing := sorted(report["missing_keys"]):
        raise UserError(f"checkpoint={checkpoint}: {len(missing)} weights are missing, {missing[0]} among them")
    if other := sorted(report["mismatched_keys"]):
        name, found, expected = other[0]
        raise damaged(checkpoint, "the weights", f"{name} is {tuple(found)} and config.json says {tuple(expected)}")
    if isinstance(model.config, DecoderConfig) and (unknown := sorted(report["unexpected_keys"])):
        raise damaged(checkpoint, "the weights", f"{unknown[0]} has no place in the model of config.json")
    if name := not_finite(model.named_parameters()):
        raise UserError(
            f"checkpoint={checkpoint}: the weight {name} holds NaN or infinity; name another one, or train again "
            "with a lower optimizer.lr"
        )


def not_finite(weights: Iterable[tuple[str, torch.Tensor]]) -> str | None:
    """Name of the first weight that holds NaN or infinity; None where none does."""
    return next((name for name, value in weights if not bool(torch.isfinite(value).all())), None)


def checkpoint_tokenizer(checkpoint: str, folder: str, vocabulary: int) -> PreTrainedTokenizerBase:
    """Loads the tokenizer of a model folder or hub name.

    Raises:
        UserError: it is damaged, there is none, or it has more tokens than the model's `vocabulary`.
    """
    try:
        with quiet_library():
            tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # of tokenizers, a plain Exception
        raise damaged(checkpoint, "tokenizer.json", error) from error
    known = len(tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens))
    if not known:  # of a folder without one the library makes one of special tokens alone
        raise damaged(checkpoint, "the tokenizer", "no tokens")
    if len(tokenizer) > vocabulary:
        raise UserError(
            f"checkpoint={checkpoint}: its tokenizer has {len(tokenizer):,} tokens and its model {vocabulary:,}; "
            "copy the model's own tokenizer into the folder"
        )
    return tokenizer
