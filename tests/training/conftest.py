"""A tiny run with everything that an ordinary run has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from hydra import compose, initialize_config_dir
from small_words import SMALL
from tiny_run import BLOCK, FLOPS_PER_TOKEN, RandomTokens, Run, tiny_model

from smallgpt.launch.config_files import CONF
from smallgpt.launch.loading import load_settings
from smallgpt.training.checkpoints import Checkpoints
from smallgpt.training.metrics import MetricsFile, Recorder
from smallgpt.training.module import LanguageModel
from smallgpt.training.optimizers import AdamW
from smallgpt.training.progress import ProgressLine
from smallgpt.training.run_length import RunLength
from smallgpt.training.schedules import Constant
from smallgpt.training.trainer import build_trainer
from smallgpt.training.validation_schedule import ValidationSchedule


@pytest.fixture(scope="session")
def run_task(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Runs a task with overrides; all runs share text and cache."""
    root = tmp_path_factory.mktemp("tasks")
    text = root / "text"
    text.mkdir()
    for number in range(40):
        lines = [f"line {number * line % 97} of document {number}" for line in range(20)]
        (text / f"{number}.txt").write_text("\n".join(lines))
    shared = ["data=files", f"data.path={text}", "data.holdout=0.2", f"cache_dir={root / 'cache'}"]

    def run(task: Callable[..., dict[str, Any]], run_dir: Path, *overrides: str) -> dict[str, Any]:
        chosen = [f"task={task.__module__.rpartition('.')[2]}"]
        with initialize_config_dir(str(CONF), version_base=None):
            config = compose("config", overrides=[*chosen, *shared, *SMALL, *overrides])
        variant = next((word.removeprefix("model=") for word in overrides if word.startswith("model=")), "gpt")
        return task(load_settings(config, list(overrides), variant), run_dir)

    return run


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
        model: Any = None,
        first: tuple[L.Callback, ...] = (),
        extra: tuple[L.Callback, ...] = (),
        hardware: dict[str, Any] | None = None,
        **options: Any,
    ) -> Run:
        directory = tmp_path / name
        data = RandomTokens(rows, distinct)
        module = LanguageModel(
            model or tiny_model(),
            optimizer or AdamW(lr=1e-2),
            schedule or Constant(warmup=0),
            RunLength(steps=None if seconds else steps, seconds=seconds),
            **options,
        )
        recorder = Recorder(rows * BLOCK * accumulation, FLOPS_PER_TOKEN, 1e9, every=log_every)
        metrics = MetricsFile(directory / "metrics.csv")
        callbacks = [
            *first,
            ValidationSchedule(every),
            recorder,
            ProgressLine(recorder),
            Checkpoints(directory / "checkpoints", tokenizer_dir, metrics),
            *extra,
        ]
        trainer = build_trainer(directory, callbacks, [metrics], accumulation=accumulation, **(hardware or {}))
        run = Run(directory, trainer, module, data, recorder)
        trainer.fit(module, datamodule=data)
        return run

    return train
