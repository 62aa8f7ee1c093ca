"""Metrics of text for torchmetrics: mean loss, perplexity and bits per byte, in training and in every evaluation.

They add up nats in double precision and counts in whole numbers, so that they are exact however the text is cut and
shared out; the library adds up what several processes have. Their states stand in no checkpoint: a run stops and saves
between two steps or behind a validation, never inside one.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

LARGEST_EXPONENT = 700.0  # of which a float can hold the exponential


class NatsPerUnit(Metric):
    """Base of the metrics: negative log-likelihoods in nats, and a count of what they are of."""

    full_state_update = False
    higher_is_better = False
    nats: Tensor
    count: Tensor

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.add_state("nats", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def add(self, nats: Tensor, count: Tensor) -> None:
        """Adds the nats of pieces of text, and the units of each."""
        self.nats += nats.double().sum()
        self.count += count.sum()


class MeanLoss(NatsPerUnit):
    """Mean loss in nats of a token."""

    def update(self, nats: Tensor, tokens: Tensor) -> None:
        """Adds pieces of text: the nats and the scored tokens of each."""
        self.add(nats, tokens)

    def compute(self) -> Tensor:
        return self.nats / self.count


class TokenPerplexity(MeanLoss):
    """Perplexity per token: the exponential of the mean loss, cut off at the largest that a float can hold."""

    def compute(self) -> Tensor:
        return (self.nats / self.count).clamp(max=LARGEST_EXPONENT).exp()


class BitsPerByte(NatsPerUnit):
    """Bits per byte of the UTF-8 text, whatever the tokenizer made of it."""

    def update(self, nats: Tensor, bytes: Tensor) -> None:
        """Adds pieces of text: the nats and the bytes of each."""
        self.add(nats, bytes)

    def compute(self) -> Tensor:
        return self.nats / math.log(2) / self.count


def text_metrics() -> MetricCollection:
    """Makes the metrics of text under their names in results; `update` takes `nats`, `tokens` and `bytes`."""
    metrics: dict[str, Metric | MetricCollection] = {
        "loss": MeanLoss(),
        "perplexity": TokenPerplexity(),
        "bits_per_byte": BitsPerByte(),
    }
    # left to itself the library would take counts that are equal at first, of bytes and tokens, for the same
    return MetricCollection(metrics, compute_groups=[["loss", "perplexity"], ["bits_per_byte"]])


class WeightedLoss(NatsPerUnit):
    """Mean loss in nats of what is learnt of examples, each by the weight of its class."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, nats: Tensor, weight: Tensor) -> None:
        """Adds batches: the nats and the weight of each."""
        self.add(nats, weight)

    def compute(self) -> Tensor:
        return self.nats / self.count


class WeightedPerplexity(WeightedLoss):
    """Exponential of the mean loss, cut off at the largest that a float can hold."""

    def compute(self) -> Tensor:
        return (self.nats / self.count).clamp(max=LARGEST_EXPONENT).exp()


def example_metrics() -> MetricCollection:
    """Makes the metrics of examples under their names in results; `update` takes `nats` and `weight`."""
    metrics: dict[str, Metric | MetricCollection] = {"loss": WeightedLoss(), "perplexity": WeightedPerplexity()}
    return MetricCollection(metrics)
