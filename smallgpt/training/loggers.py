"""Views of a run beside its `metrics.csv`; each is given the same rows under the same names."""

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from smallgpt.errors import UserError, one_line
from smallgpt.notices import say
from smallgpt.packages import require
from smallgpt.settings import Group, Settings

if TYPE_CHECKING:
    from lightning.pytorch.loggers.logger import Logger


class CSV(Group):
    """Logger choice `csv`, which adds nothing: every run writes `metrics.csv`."""

    def build(self, settings: Settings, run_dir: Path) -> list["Logger"]:
        if "WANDB_SWEEP_ID" in os.environ:
            say("logger=csv: the W&B sweep that started this run hears nothing of it; logger=wandb logger.mode=online")
        return []


class TensorBoard(Group):
    """Logger choice `tensorboard`: event files in the run's `tensorboard/`, for `tensorboard --logdir`."""

    def model_post_init(self, _: Any) -> None:
        require("logger=tensorboard", "tensorboard", instead="logger=csv")

    def build(self, settings: Settings, run_dir: Path) -> list["Logger"]:
        from lightning.pytorch.loggers import TensorBoardLogger

        return [TensorBoardLogger(run_dir, name="tensorboard", version="")]


@runtime_checkable
class Lasting(Protocol):
    """Logger that goes on after the training, with samples and evaluations, and begins again where a run goes on."""

    wants: str | None
    """Folder of the run's checkpoints that it keeps; None: none."""

    def begin(self, facts: Mapping[str, Any]) -> dict[str, Any]: ...

    def log_kept(self, rows: list[dict[str, float]]) -> None: ...

    def log_result(self, sections: Mapping[str, Any]) -> None: ...

    def log_checkpoint(self, folder: Path, card: str) -> None: ...

    def log_evaluation(self, section: dict[str, Any], items: dict[str, list[dict[str, Any]]]) -> None: ...

    def end(self, failure: str | None) -> None: ...


@contextmanager
def until_the_end(loggers: Sequence["Logger"]) -> Generator[list[Lasting]]:
    """Context with the loggers that go on after the training; at its end they hear whether it failed, and why."""
    lasting: list[Lasting] = [logger for logger in loggers if isinstance(logger, Lasting)]
    failure = None
    try:
        yield lasting
    except BaseException as error:  # Ctrl-C too
        failure = one_line(error)
        if not isinstance(error, UserError | SystemExit | KeyboardInterrupt):
            failure = f"{type(error).__name__}: {failure}"
        raise
    finally:
        for logger in lasting:
            logger.end(failure)
