"""Hydra's own sweeper, without the jobs that cannot exist."""

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override


class GridSweeper(BasicSweeper):
    """Every combination of the values on the command line; all are checked before the first of them runs."""

    def __init__(self, params: Any = None):
        super().__init__(max_batch_size=None, params=params)

    def split_arguments(self, overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:
        from smallgpt.launch.checks import check_sweep

        jobs = BasicSweeper.split_arguments(overrides, max_batch_size)[0]
        return [check_sweep(self.hydra_context.config_loader, self.config, jobs)]
