"""Views of a run beside its `metrics.csv`; each is given the same rows under the same names."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallgpt.errors import UserError
from smallgpt.settings import Group

if TYPE_CHECKING:
    from lightning.pytorch.loggers.logger import Logger


class CSV(Group):
    """Nothing more: every run writes `metrics.csv`."""

    def build(self, run_dir: Path) -> list["Logger"]:
        return []


class TensorBoard(Group):
    """Event files in the run's `tensorboard/`, for `tensorboard --logdir`."""

    def model_post_init(self, _: Any) -> None:
        if find_spec("tensorboard") is None:
            raise UserError(
                "logger=tensorboard: tensorboard is not installed; `pip install tensorboard`, or logger=csv"
            )

    def build(self, run_dir: Path) -> list["Logger"]:
        from lightning.pytorch.loggers import TensorBoardLogger

        return [TensorBoardLogger(run_dir, name="tensorboard", version="")]
