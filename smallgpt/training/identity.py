"""Identity of a run: the data and the code of the model that its state belongs to, without which it cannot go on.

The precision that it began in belongs to it, too: `trainer.precision=auto` is another one on another machine.
"""

from pathlib import Path
from typing import Any, Literal

import torch

from smallgpt.contract.required import model_code
from smallgpt.errors import UserError
from smallgpt.machine.device import Precision, resolved_precision
from smallgpt.models.decoder import Decoder
from smallgpt.training.saved_state import opened


def run_identity(
    data_fingerprint: str, model_class: type[Decoder], precision: Precision, teacher: str | None = None
) -> dict[str, Any]:
    """The identity of a run, which is saved with the state of its training.

    Args:
        teacher: hash of the teacher's weights, where the training has one.
    """
    of_ours = issubclass(model_class, Decoder)  # a model of transformers' own is not made of our code
    code = model_code(model_class) if of_ours else {}
    own = {"data_fingerprint": data_fingerprint, "model_code": code, "precision": precision}
    return own if teacher is None else {**own, "teacher": teacher}


def training_precision(asked: Literal["auto", "fp32", "bf16"], where: torch.device, state: Path | None) -> Precision:
    """The precision of a training; with `auto` a run that goes on from a state keeps the one that it began in."""
    if asked == "auto" and state is not None:
        saved = opened(state).get("identity") or {}
        if "precision" in saved:  # a release before did not save it
            return saved["precision"]
    return resolved_precision(asked, where)


def refuse_other_identity(state: Path, identity: dict[str, Any]) -> None:
    """Raises UserError where a saved training saw other data, or a model of other code, than it would from here on."""
    saved = torch.load(state, map_location="cpu", weights_only=True, mmap=True).get("identity")
    if saved is None:  # of a release that did not save one
        return
    before, now = saved["data_fingerprint"], identity["data_fingerprint"]
    if before != now:
        raise UserError(
            f"resume: {state} was trained on other data: its fingerprint was {before} and is now {now}; give the text "
            "and the tokenizer of then, or begin anew with another hydra.run.dir"
        )
    if saved.get("teacher") != identity.get("teacher"):
        raise UserError(
            f"resume: {state} was trained with another teacher: the weights of distill.from= have changed since; "
            "restore them, or begin anew with another hydra.run.dir"
        )
    codes = saved["model_code"], identity["model_code"]
    for module in sorted({**codes[0], **codes[1]}):
        if codes[0].get(module) != codes[1].get(module):
            raise UserError(
                f"resume: {state} was trained with other code of the model: {module} has changed since; restore it, "
                "or begin anew with another hydra.run.dir"
            )
