"""Record of a run: what is measured, when, and the `metrics.csv` it goes to."""

import csv
import io
import math
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers.logger import Logger

from smallgpt.errors import UserError
from smallgpt.files import write_text
from smallgpt.notices import say
from smallgpt.training.module import LanguageModel

AXES = ("step", "tokens", "seconds", "flops")
TRAIN = ("train/loss", "train/lr", "train/grad_norm", "speed/tokens_per_second", "speed/mfu")
VALIDATION = ("val/loss", "val/perplexity", "val/bits_per_byte")
HEADER = AXES + TRAIN + VALIDATION


class MetricsFile(Logger):
    """Logger of `metrics.csv`: rows under one fixed header, each flushed as soon as it is known.

    A row has the metrics that were measured at its step; the other cells are empty.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.lines: list[str] = []
        """The rows of this run so far, as they are in the file; a checkpoint keeps them too."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", buffering=1)
        if path.stat().st_size == 0:
            self._file.write(csv_line({name: name for name in HEADER}))

    def keep(self, lines: list[str]) -> None:
        """Goes on behind the rows of a checkpoint: drops what was written after it, and restores what is lost."""
        self._file.close()
        whole = csv_line({name: name for name in HEADER}) + "".join(lines)
        if not self.path.read_text(errors="replace").startswith(whole):
            say(f"{self.path}: rows were lost or changed; those of the checkpoint, {len(lines)}, are written again")
        write_text(self.path, whole)
        self._file = self.path.open("a", buffering=1)
        self.lines = list(lines)

    def kept(self) -> list[dict[str, float]]:
        """Rows so far as numbers."""
        rows = csv.DictReader(self.lines, HEADER)
        return [{name: float(text) for name, text in row.items() if text} for row in rows]

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Logs nothing: the settings are in the run's `config.yaml`."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        line = csv_line({"step": step, **metrics})
        self._file.write(line)
        self._file.flush()
        self.lines.append(line)

    def finalize(self, status: str) -> None:
        self._file.flush()


def csv_line(row: dict[str, Any]) -> str:
    """A row of metrics.csv as it is in the file."""
    line = io.StringIO()
    csv.DictWriter(line, HEADER, lineterminator="\n").writerow(row)
    return line.getvalue()


class Recorder(L.Callback):
    """Callback that measures every `every` optimizer steps and at validations, and gives the rows to the loggers.

    Args:
        batch_tokens: tokens of one optimizer step, over all ranks.
        flops_per_token: model FLOPs of training on one token.
        peak_flops: what the devices of the run can do a second together; None if not known.
        every: optimizer steps between two rows.
    """

    def __init__(self, batch_tokens: int, flops_per_token: float, peak_flops: float | None, every: int = 10) -> None:
        self.batch_tokens = batch_tokens
        self.flops_per_token = flops_per_token
        self.peak_flops = peak_flops
        self.every = every
        self.latest: dict[str, float] = {}
        self.step = 0
        self._marked = (0, 0.0)

    def state_dict(self) -> dict[str, Any]:
        return {"latest": self.latest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.latest = state["latest"]  # a run that goes on after its last step has nothing more to measure

    def on_train_start(self, trainer: L.Trainer, module: LanguageModel) -> None:
        self.step = trainer.global_step
        self._marked = (trainer.global_step, module.clock.seconds)

    def on_train_batch_end(self, trainer: L.Trainer, module: LanguageModel, *_: Any) -> None:
        step = trainer.global_step
        if step == self.step:
            return
        self.step = step
        if step % self.every == 0 or trainer.should_stop:
            self._record_training(trainer, module)
        module.micro_losses.clear()

    def _record_training(self, trainer: L.Trainer, module: LanguageModel) -> None:
        loss = module.step_loss()
        seconds = module.clock.seconds
        marked_step, marked_seconds = self._marked
        self._marked = (self.step, seconds)
        metrics = {
            "train/loss": loss,
            "train/lr": module.learning_rate,
            "train/grad_norm": module.gradient_norm.item(),
        }
        if seconds > marked_seconds:  # a coarse clock may not have moved, and one without a stopped process's time
            rate = (self.step - marked_step) * self.batch_tokens / (seconds - marked_seconds)
            metrics["speed/tokens_per_second"] = rate
            if self.peak_flops is not None:
                metrics["speed/mfu"] = rate * self.flops_per_token / self.peak_flops
        self._write(trainer, metrics, seconds)
        self._check("train/loss", loss, module)

    def on_validation_end(self, trainer: L.Trainer, module: LanguageModel) -> None:
        self._write(trainer, module.validation, module.clock.seconds)
        self._check("val/loss", module.validation["val/loss"], module)

    def _write(self, trainer: L.Trainer, metrics: dict[str, float], seconds: float) -> None:
        tokens = self.step * self.batch_tokens
        axes = {"tokens": tokens, "seconds": seconds, "flops": tokens * self.flops_per_token}
        row = axes | metrics
        self.latest |= {"step": self.step, **row}
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.log_metrics(row, self.step)

    def _check(self, name: str, loss: float, module: LanguageModel) -> None:
        if not math.isfinite(loss):
            raise UserError(
                f"optimizer.lr={module.optimizer.lr:g}: training diverged, {name} is {loss} at "
                f"step {self.step}; a lower one, or a longer schedule.warmup, would help"
            )
