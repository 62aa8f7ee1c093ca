"""Batches of padded examples, in the order and with the state of every training stream.

The loss of a step is a mean over all that is learnt in it, however it is cut into micro-batches and shared out among
processes: `scale` of a batch is what the sum of its losses is multiplied by.

B batch, T time.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from smallgpt.data.datamodule import IGNORED, Batch, FiniteRankBatches, Order, RankBatches, StreamDataModule
from smallgpt.data.example_encoding import EncodedExample

Side = Literal["left", "right"]


def batch_of_examples(
    examples: Sequence[EncodedExample], pad: int, side: Side, with_label: bool, weights: Sequence[float] | None = None
) -> Batch:
    """Batch of examples, padded to the longest.

    `attention_mask` is there where anything is padded, `labels` (B) with `with_label`, else `targets` (B, T).
    `weights` (B) are those of the examples.
    """
    rows = [each.ids if with_label else each.ids[:-1] for each in examples]
    width = max(map(len, rows))
    ids_BT = np.full((len(rows), width), pad, dtype=np.int64)
    targets_BT = np.full((len(rows), width), IGNORED, dtype=np.int64)
    mask_BT = np.zeros((len(rows), width), dtype=np.int64)
    for place, (row, each) in enumerate(zip(rows, examples, strict=True)):
        columns = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids_BT[place, columns] = row
        mask_BT[place, columns] = 1
        if not with_label:
            targets_BT[place, columns] = np.where(each.learnt[1:], each.ids[1:], IGNORED)
    batch = {"input_ids": torch.from_numpy(ids_BT)}
    if not mask_BT.all():
        batch["attention_mask"] = torch.from_numpy(mask_BT)
    if with_label:
        batch["labels"] = torch.tensor([each.label for each in examples])
    else:
        batch["targets"] = torch.from_numpy(targets_BT)
    if weights is not None:
        batch["weights"] = torch.tensor(list(weights), dtype=torch.float32)
    return batch


class ExampleDataModule(StreamDataModule):
    """Batches of examples: an endless stream of training ones, and the held-out ones that choose the checkpoint.

    Args:
        pad: token that fills rows.
        class_weights: weight of each label; None: all the same.
        validation_tokens: of the held-out examples the first ones with as many tokens are scored; None: all.
    """

    def __init__(
        self,
        train: Sequence[EncodedExample],
        validation: Sequence[EncodedExample],
        micro_batch_size: int,
        seed: int,
        pad: int,
        with_label: bool = False,
        side: Side = "right",
        class_weights: Sequence[float] | None = None,
        workers: int = 0,
        validation_tokens: int | None = None,
    ):
        super().__init__(micro_batch_size, workers)
        self.train, self.pad, self.side, self.with_label = train, pad, side, with_label
        self.class_weights = class_weights
        ends = np.cumsum([len(each.ids) for each in validation])
        count = len(ends)
        if validation_tokens is not None:
            count = max(1, int(np.searchsorted(ends, validation_tokens, side="right")))
        self.validation = sorted(validation[:count], key=lambda each: len(each.ids), reverse=True)
        self.order = Order(len(train), seed)
        self.tokens_per_example = float(np.mean([len(each.ids) for each in train]))

    def weight(self, example: EncodedExample) -> float:
        """Weight of an example's class."""
        return 1.0 if self.class_weights is None else self.class_weights[example.label]

    def learnt(self, example: EncodedExample) -> float:
        """Weight of all that is learnt of an example: its class's, for each target."""
        return self.weight(example) * (1 if self.with_label else int(example.learnt.sum()))

    def batch(self, examples: Sequence[EncodedExample]) -> Batch:
        """Batch of examples, as training and validation read it."""
        weights = None if self.class_weights is None else [self.weight(each) for each in examples]
        return batch_of_examples(examples, self.pad, self.side, self.with_label, weights)

    def train_dataloader(self) -> DataLoader[Batch]:
        return self.loader(TrainExamples(self), RankBatches(self, None), self.workers)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self.loader(HeldOutExamples(self), FiniteRankBatches(self, len(self.validation)), 0)


class TrainExamples(Dataset[Batch]):
    """The endless stream of training examples; an item is a batch, asked for by its global sample indices."""

    def __init__(self, module: ExampleDataModule):
        self.module, self.per_step = module, module.samples_per_step()

    def __getitem__(self, index: list[int]) -> Batch:
        module, first = self.module, index[0] // self.per_step * self.per_step
        step = sum(module.learnt(self.example(sample)) for sample in range(first, first + self.per_step))
        batch = module.batch([self.example(sample) for sample in index])
        micro_batches = self.per_step / module.micro_batch_size
        return batch | {"scale": torch.tensor(micro_batches / max(step, 1e-9), dtype=torch.float32)}

    def example(self, sample: int) -> EncodedExample:
        """The example that a sample of the stream is."""
        return self.module.train[self.module.order(sample)]


class HeldOutExamples(Dataset[Batch]):
    """The held-out examples; the longest come first, and a last batch has fewer rows."""

    def __init__(self, module: ExampleDataModule):
        self.examples, self.batch = module.validation, module.batch

    def __getitem__(self, index: list[int]) -> Batch:
        own = [self.examples[number] for number in index if number < len(self.examples)]
        if own:
            return self.batch(own)
        nothing = self.batch(self.examples[-1:])  # so that all ranks have as many batches
        return nothing | {"weights": torch.zeros(1)}
