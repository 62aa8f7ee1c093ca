"""Hydra's door to smallgpt.launch.search; Hydra takes sweepers from the namespace package `hydra_plugins` alone."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """The options are those of `smallgpt.launch.search.Options`."""

    def __init__(self, **options: Any):
        self.options = options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def search(self, config: DictConfig) -> Any:
        from smallgpt.errors import UserError

        if find_spec("optuna") is None:
            raise UserError("hydra/sweeper=optuna: optuna is not installed; `pip install optuna`")
        from smallgpt.launch.search import Search

        return Search(config, self.options)

    def sweep(self, arguments: Sequence[str]) -> Any:
        assert self.config is not None and self.launcher is not None
        return self.search(self.config).run(self.launcher)
