"""Objectives: what the loss of a batch is. The one LightningModule trains whatever it is given."""

from contextlib import nullcontext
from typing import Any, Protocol

from torch import Tensor

from smallgpt.models.loss import IGNORED
from smallgpt.training.compiled_parts import compile_parts, uncompiled

Batch = dict[str, Tensor]


class Objective(Protocol):
    """Loss of a model on batches."""

    def mean(self, batch: Batch) -> Tensor:
        """Loss of a micro-batch, such that its average over the micro-batches of a step is the step's loss."""
        ...

    def total(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sum of the losses of a batch, and the number or weight of what it is a sum over."""
        ...


class NextToken:
    """Objective of pre-training: the mean cross-entropy of the next token, over windows that are all full."""

    def __init__(self, model: Any, compile: bool = False) -> None:
        """
        Args:
            model: has `next_token_loss(input_ids, targets, reduction)`.
            compile: whether the parts of the model are compiled; the weights keep their names.
        """
        self.model, self.compiled = model, compile
        if compile:
            compile_parts(model)

    def mean(self, batch: Batch) -> Tensor:
        return self.model.next_token_loss(batch["input_ids"], batch["targets"])

    def total(self, batch: Batch) -> tuple[Tensor, Tensor]:
        targets = batch["targets"]
        with uncompiled() if self.compiled else nullcontext():
            nats = self.model.next_token_loss(batch["input_ids"], targets, reduction="sum")
        return nats, (targets != IGNORED).sum()
