"""Training on one batch again and again: a model that cannot learn it by heart has a fault."""

from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

from smallgpt.data.datamodule import TokenDataModule


class RepeatedBatches:
    """Endless stream of the given batches, over and over."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return cycle(self.batches)


class OverfitDataModule(TokenDataModule):
    """Repeats the first `micro_batches` micro-batches of the training data: one step's."""

    micro_batches = 1

    def train_dataloader(self) -> RepeatedBatches:
        return RepeatedBatches(list(islice(super().train_dataloader(), self.micro_batches)))
