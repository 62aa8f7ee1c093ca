"""A tiny real model and random tokens for it to learn."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, IterableDataset

from smallgpt.models.gpt import GPT, GPTConfig
from smallgpt.training.metrics import Recorder
from smallgpt.training.module import LanguageModel

BLOCK, VOCABULARY = 16, 64
FLOPS_PER_TOKEN = 1000.0


class IndexStream(IterableDataset):
    def __init__(self, indices: Iterator[int]) -> None:
        self.indices = indices

    def __iter__(self) -> Iterator[int]:
        return self.indices


class RandomTokens(L.LightningDataModule):
    """Windows that are a pure function of their index, in micro-batches of `rows`."""

    validation_bytes = 1000

    def __init__(self, rows: int, distinct: int = 10**6) -> None:
        super().__init__()
        self.rows = rows
        self.distinct = distinct

    def batch(self, index: int, seed: int = 1) -> dict[str, torch.Tensor]:
        windows = [
            torch.randint(
                VOCABULARY,
                (BLOCK + 1,),
                generator=torch.Generator().manual_seed(1000 * seed + row),
            )
            for row in range(index * self.rows, (index + 1) * self.rows)
        ]
        ids = torch.stack(windows)
        return {"input_ids": ids[:, :-1], "targets": ids[:, 1:].clone()}

    def train_dataloader(self) -> DataLoader:
        indices = cycle(range(self.distinct))
        return DataLoader(IndexStream(indices), batch_size=None, collate_fn=self.batch)

    def validation_batches(self) -> list[dict[str, torch.Tensor]]:
        batches = [self.batch(index, seed=2) for index in range(3)]
        batches[-1]["targets"][-1, 5:] = -100
        for batch, size in zip(batches, (0, self.validation_bytes - 1, 1), strict=True):
            batch["bytes"] = torch.tensor([size] + [0] * (self.rows - 1))
        return batches

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.validation_batches(), batch_size=None)


@dataclass
class Run:
    directory: Path
    trainer: L.Trainer
    module: LanguageModel
    data: RandomTokens
    recorder: Recorder

    def rows(self, metric: str) -> list[dict[str, float]]:
        """The rows of metrics.csv that have a metric, as numbers."""
        with (self.directory / "metrics.csv").open() as file:
            table = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
        return [row for row in table if metric in row]


def tiny_model(**changes: Any) -> GPT:
    torch.manual_seed(0)
    shape = {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": BLOCK} | changes
    return GPT(GPTConfig(vocab_size=VOCABULARY, **shape))
