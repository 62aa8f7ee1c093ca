"""Objectives of fine-tuning: the loss of completions alone, and that of labels."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MetricCollection

from smallgpt.finetuning.adapted import Adapted
from smallgpt.models.loss import IGNORED
from smallgpt.text_metrics import example_metrics
from smallgpt.training.objectives import Batch


class OnExamples:
    """Base of the objectives on examples: a subclass says what the losses of a batch sum to, and over how much."""

    def __init__(self, model: Adapted) -> None:
        self.model = model

    def total(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sum of the losses of a batch, and the number or weight of what it is a sum over."""
        raise NotImplementedError

    def mean(self, batch: Batch) -> Tensor:
        return self.total(batch)[0] * batch["scale"]

    def metrics(self) -> MetricCollection:
        return example_metrics()

    def measured(self, batch: Batch) -> dict[str, Tensor]:
        nats, weight = self.total(batch)
        return {"nats": nats, "weight": weight}


class Completions(OnExamples):
    """Objective whose loss is the cross-entropy of what follows each prompt; nothing of the prompt is learnt."""

    def total(self, batch: Batch) -> tuple[Tensor, Tensor]:
        ids_BT, targets_BT, mask_BT = batch["input_ids"], batch["targets"], batch.get("attention_mask")
        scored_BT = targets_BT != IGNORED
        weight_B = batch.get("weights")
        if weight_B is None:
            return self.model.next_token_loss(ids_BT, targets_BT, "sum", mask_BT), scored_BT.sum()
        logits_BTV = self.model.logits(ids_BT, mask_BT).float()
        nats_BT = F.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), reduction="none").view_as(targets_BT)
        weight_BT = scored_BT * weight_B[:, None]
        return (nats_BT * weight_BT).sum(), weight_BT.sum()


class Labels(OnExamples):
    """Objective whose loss is the cross-entropy of each prompt's label, as the head says it."""

    def total(self, batch: Batch) -> tuple[Tensor, Tensor]:
        logits_BC = self.model.label_logits(batch["input_ids"], batch.get("attention_mask")).float()
        nats_B = F.cross_entropy(logits_BC, batch["labels"], reduction="none")
        weight_B = batch.get("weights", torch.ones_like(nats_B))
        return (nats_B * weight_B).sum(), weight_B.sum()
