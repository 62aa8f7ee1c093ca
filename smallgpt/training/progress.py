"""Progress for people: a bar on a terminal, a plain line now and then elsewhere."""

import math
import time
from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from smallgpt.notices import clock_time
from smallgpt.training.metrics import Recorder
from smallgpt.training.module import LanguageModel

BAR_SECONDS = 0.25
LINE_SECONDS = 10.0


class ProgressLine(L.Callback):
    """Callback that shows loss, speed and time left on standard error, at most four times a second."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.console = Console(stderr=True)
        self._bar: Progress | None = None
        self._next = math.inf

    def on_train_start(self, trainer: L.Trainer, module: LanguageModel) -> None:
        if not trainer.is_global_zero:
            return
        self._next = time.monotonic() + BAR_SECONDS
        if self.console.is_terminal:
            columns = TaskProgressColumn(), BarColumn(), TextColumn("{task.description}")
            self._bar = Progress(*columns, console=self.console, auto_refresh=False, transient=True)
            self._bar.add_task("", total=1.0)
            self._bar.start()

    def on_train_batch_end(self, trainer: L.Trainer, module: LanguageModel, *_: Any) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        done = min(1.0, module.run_length.progress(trainer.global_step, module.clock.seconds))
        line = self._line(trainer.global_step, module, done)
        if self._bar is not None:
            self._next = now + BAR_SECONDS
            self._bar.update(self._bar.task_ids[0], completed=done, description=line)
            self._bar.refresh()
        else:
            self._next = now + LINE_SECONDS
            self._print(f"{100 * done:3.0f}%  {line}")

    def on_validation_end(self, trainer: L.Trainer, module: LanguageModel) -> None:
        if trainer.is_global_zero:
            self._print(f"step {trainer.global_step}  val/loss {module.validation['val/loss']:.4f}")

    def on_train_end(self, trainer: L.Trainer, module: LanguageModel) -> None:
        self._stop()

    def on_exception(self, trainer: L.Trainer, module: LanguageModel, error: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _line(self, step: int, module: LanguageModel, done: float) -> str:
        parts = [f"step {step}" + (f"/{module.run_length.steps}" if module.run_length.steps else "")]
        latest = self.recorder.latest
        if "train/loss" in latest:
            parts.append(f"loss {latest['train/loss']:.3f}")
        if "speed/tokens_per_second" in latest:
            parts.append(f"{latest['speed/tokens_per_second']:,.0f} tokens/s")
        if done > 0:
            parts.append(f"{clock_time(module.clock.seconds * (1 - done) / done)} left")
        return "  ".join(parts)
