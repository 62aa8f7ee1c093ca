"""What our training loop adds to a bare PyTorch loop, in milliseconds a step.

    python -m benchmarks.training_loop

Both train the same tiny model (8 layers, width 8) on the same batches with fused AdamW and
clipping, on one thread; ours with every callback and logger of an ordinary run. The rounds
alternate. A round is summed up twice: by the tenth percentile of its steps, which leaves out what
else the machine was doing, and by their mean, which has the steps that write a row. Validations are
not counted.
"""

import tempfile
import time
from itertools import count, pairwise
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, IterableDataset

from smallgpt.models.gpt import GPT, GPTConfig
from smallgpt.training.checkpoints import Checkpoints
from smallgpt.training.metrics import MetricsFile, Recorder
from smallgpt.training.module import LanguageModel
from smallgpt.training.optimizers import AdamW
from smallgpt.training.progress import ProgressLine
from smallgpt.training.run_length import RunLength
from smallgpt.training.schedules import Cosine
from smallgpt.training.trainer import build_trainer
from smallgpt.training.validation_schedule import ValidationSchedule

ROUNDS, WARM_UP, STEPS = 7, 20, 200
ROWS, TIME, VOCABULARY = 4, 16, 64


class Sentences(IterableDataset):
    """The same batch without end."""

    def __iter__(self):
        ids = torch.arange(ROWS * TIME).view(ROWS, TIME) % VOCABULARY
        for _ in count():
            yield {"input_ids": ids, "targets": ids}


class Data(L.LightningDataModule):
    def train_dataloader(self) -> DataLoader:
        return DataLoader(Sentences(), batch_size=None)

    def val_dataloader(self) -> DataLoader:
        return DataLoader([next(iter(Sentences()))], batch_size=None)


class Stopwatch(L.Callback):
    """The moment each step ends, on the clock that stands still while validating."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, module: LanguageModel, *_: Any) -> None:
        self.moments.append(module.clock.seconds)


def model() -> GPT:
    torch.manual_seed(0)
    shape = {"n_layer": 8, "n_head": 2, "n_embd": 8, "block_size": TIME, "allow_narrow": True}
    return GPT(GPTConfig(vocab_size=VOCABULARY, **shape))


def bare() -> list[float]:
    """Moments at which the steps of a bare loop end."""
    net = model()
    optimizer = AdamW().build(net)
    moments = []
    for batch in Data().train_dataloader():
        loss = net.next_token_loss(batch["input_ids"], batch["targets"])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        moments.append(time.perf_counter())
        if len(moments) == WARM_UP + STEPS:
            return moments
    return moments


def ours(directory: Path) -> list[float]:
    """The same of our Trainer."""
    run_length = RunLength(steps=WARM_UP + STEPS)
    module = LanguageModel(model(), AdamW(), Cosine(), run_length, validation_bytes=64)
    recorder = Recorder(ROWS * TIME, flops_per_token=1.0, peak_flops=1.0)
    stopwatch = Stopwatch()
    metrics = MetricsFile(directory / "metrics.csv")
    checkpoints = Checkpoints(directory / "checkpoints", directory / "tokenizer", metrics)
    callbacks = [ValidationSchedule(), recorder, ProgressLine(recorder), checkpoints, stopwatch]
    trainer = build_trainer(directory, callbacks, [metrics])
    trainer.fit(module, datamodule=Data())
    return stopwatch.moments


def milliseconds(moments: list[float]) -> tuple[float, float]:
    """The tenth percentile and the mean of the steps after the warm-up."""
    steps = [1e3 * (b - a) for a, b in pairwise(moments[WARM_UP:])]
    return quantiles(steps, n=10)[0], mean(steps)


def main() -> None:
    torch.set_num_threads(1)
    rounds = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "tokenizer").mkdir()
            rounds.append((milliseconds(bare()), milliseconds(ours(Path(directory)))))
    for place, name in enumerate(("10th percentile", "mean")):
        pairs = [(b[place], o[place]) for b, o in rounds]
        added = [o - b for b, o in pairs]
        print(
            f"{name:<16} bare {median(b for b, _ in pairs):.2f} ms, "
            f"ours {median(o for _, o in pairs):.2f} ms, "
            f"added {median(added):+.2f} ms ({min(added):+.2f} .. {max(added):+.2f})"
        )


if __name__ == "__main__":
    main()
