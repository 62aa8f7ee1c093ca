"""Hydra's door to smallgpt.launch.sweep; Hydra takes launchers from the namespace package `hydra_plugins` alone."""

from collections.abc import Sequence

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ProcessLauncher(Launcher):
    """`hydra/launcher=processes`: each job of a sweep is a process tree of its own, `n_jobs` of them at a time."""

    def __init__(self, n_jobs: int = 1):
        self.n_jobs = n_jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from smallgpt.launch.sweep import launch

        loader = self.hydra_context.config_loader
        return launch(loader, self.config, job_overrides, initial_job_idx, self.n_jobs)
