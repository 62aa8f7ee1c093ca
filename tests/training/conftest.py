"""A tiny run with everything that an ordinary run has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from tiny_run import BLOCK, FLOPS_PER_TOKEN, RandomTokens, Run, tiny_model

from smallgpt.training.checkpoints import Checkpoints
from smallgpt.training.horizon import Horizon
from smallgpt.training.metrics import MetricsFile, Recorder
from smallgpt.training.module import LanguageModel
from smallgpt.training.optimizers import AdamW
from smallgpt.training.progress import ProgressLine
from smallgpt.training.rhythm import Rhythm
from smallgpt.training.schedules import Constant
from smallgpt.training.trainer import build_trainer


@pytest.fixture
def tokenizer_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture
def fit(tmp_path: Path, tokenizer_dir: Path) -> Callable[..., Run]:
    """Trains a tiny model for `steps`, or `seconds`, and returns the run."""

    def train(
        steps: int | None = 6,
        seconds: float | None = None,
        optimizer: Any = None,
        schedule: Any = None,
        rows: int = 4,
        distinct: int = 10**6,
        accumulation: int = 1,
        log_every: int = 1,
        every: int | None = None,
        name: str = "run",
        extra: tuple[L.Callback, ...] = (),
        **options: Any,
    ) -> Run:
        directory = tmp_path / name
        data = RandomTokens(rows, distinct)
        module = LanguageModel(
            tiny_model(),
            optimizer or AdamW(lr=1e-2),
            schedule or Constant(warmup=0),
            Horizon(steps=None if seconds else steps, seconds=seconds),
            validation_bytes=data.validation_bytes,
            **options,
        )
        recorder = Recorder(rows * BLOCK * accumulation, FLOPS_PER_TOKEN, 1e9, every=log_every)
        metrics = MetricsFile(directory / "metrics.csv")
        callbacks = [
            Rhythm(every),
            recorder,
            ProgressLine(recorder),
            Checkpoints(directory / "checkpoints", tokenizer_dir, metrics),
            *extra,
        ]
        trainer = build_trainer(directory, callbacks, [metrics], accumulation=accumulation)
        run = Run(directory, trainer, module, data, recorder)
        trainer.fit(module, datamodule=data)
        return run

    return train
