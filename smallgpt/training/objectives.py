"""Objectives: what the loss of a batch is. The one LightningModule trains whatever it is given."""

from contextlib import nullcontext
from typing import Any, Protocol

from torch import Tensor
from torchmetrics import MetricCollection

from smallgpt.models.loss import IGNORED
from smallgpt.text_metrics import text_metrics
from smallgpt.training.compiled_parts import compile_parts, uncompiled

Batch = dict[str, Tensor]


class Objective(Protocol):
    """Loss of a model on batches."""

    def mean(self, batch: Batch) -> Tensor:
        """Loss of a micro-batch, such that its average over the micro-batches of a step is the step's loss."""
        ...

    def metrics(self) -> MetricCollection:
        """Metrics of a validation, `loss` among them."""
        ...

    def measured(self, batch: Batch) -> dict[str, Tensor]:
        """What of a held-out batch the metrics add up."""
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

    def metrics(self) -> MetricCollection:
        return text_metrics()

    def measured(self, batch: Batch) -> dict[str, Tensor]:
        targets = batch["targets"]
        with uncompiled() if self.compiled else nullcontext():
            nats = self.model.next_token_loss(batch["input_ids"], targets, reduction="sum")
        return {"nats": nats, "tokens": targets != IGNORED, "bytes": batch["bytes"]}
