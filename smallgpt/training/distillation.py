"""Distillation: a training whose model also learns from the logits of a trained one, the teacher."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smallgpt.data.tokenizers import load_tokenizer
from smallgpt.errors import UserError
from smallgpt.models.decoder import Decoder
from smallgpt.models.distilled_loss import distilled_cross_entropy
from smallgpt.training.objectives import Batch, NextToken


class Distillation(NextToken):
    """Objective of a student: the next token, and what a teacher thinks of it; validation scores the next token alone.

    The teacher is no module of the training: its weights are in no checkpoint and no optimizer.
    """

    def __init__(self, student: Decoder, teacher: Decoder, weight: float, temperature: float) -> None:
        super().__init__(student)
        self.student, self.teacher = student, teacher.eval().requires_grad_(False)
        self.weight, self.temperature = weight, temperature

    def mean(self, batch: Batch) -> Tensor:
        ids, targets = batch["input_ids"], batch["targets"].flatten()
        if self.teacher.device != ids.device:
            self.teacher.to(ids.device)
        with torch.no_grad():
            taught_x, taught_weight = read_by_head(self.teacher, ids)
        x, weight = read_by_head(self.student, ids)
        return distilled_cross_entropy(x, weight, targets, taught_x, taught_weight, self.weight, self.temperature)


def read_by_head(model: Decoder, ids: Tensor) -> tuple[Tensor, Tensor]:
    """What the output head of a model multiplies at each position, and its weights."""
    head: Any = model.get_output_embeddings()
    return model.transformer(ids, use_cache=False).last_hidden_state.flatten(0, 1), head.weight


def weights_hash(model: torch.nn.Module) -> str:
    """Hash of a model's weights, which says whether two models are the same."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().view(torch.uint8).numpy())
    return found.hexdigest()


def refuse_other_tokenizer(key: str, teacher: str | Path, student: str | Path) -> None:
    """Raises UserError where the tokenizers of two models, each a folder or a hub name, make other tokens of a text.

    Args:
        key: word of the command line that names the teacher.
    """
    first, second = (tokens_of(str(folder)) for folder in (teacher, student))
    if first != second:
        raise UserError(
            f"{key}: its tokenizer is not the one of this training, so its logits are of other tokens; "
            "checkpoint= of its run gives the same, with first_weights=random without its weights"
        )


def tokens_of(name: str) -> dict[str, Any]:
    """What a tokenizer makes of text: its description without padding and truncation, which a caller sets."""
    described = json.loads(load_tokenizer(name).backend_tokenizer.to_str())
    return {part: value for part, value in described.items() if part not in ("padding", "truncation")}
