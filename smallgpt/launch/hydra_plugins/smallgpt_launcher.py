"""Hydra launchers of sweeps; Hydra looks for launchers in the namespace package `hydra_plugins` alone."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_class
from omegaconf import DictConfig


class SweepLauncher(Launcher):
    """Launcher that runs each job of a sweep in a process tree of its own, on machines that a subclass names."""

    where: str
    """Path of the class of machines (`smallgpt.launch.sweep_job.Machines`) that takes the launcher's options."""

    def __init__(self, **options: Any):
        self.options = options
        self.hopeless: Callable[[Any], bool] | None = None
        """Function that a sweeper sets: a running job of which it is true is stopped."""
        self.composer: Any = None
        """Composer that a sweeper sets, which has composed the jobs to check them."""

    @cached_property
    def machines(self) -> Any:
        from smallgpt.launch.launcher_options import checked_options

        machines = get_class(self.where)
        return machines(**checked_options(machines, self.options))

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from smallgpt.launch.composing import JobComposer
        from smallgpt.launch.sweep import launch

        composer = self.composer or JobComposer(self.hydra_context.config_loader, self.config)
        return launch(composer, job_overrides, initial_job_idx, self.machines, self.hopeless)


class ProcessLauncher(SweepLauncher):
    """Launcher of jobs as processes of this machine: `hydra/launcher=processes`."""

    where = "smallgpt.launch.this_machine.ThisMachine"


class SlurmLauncher(SweepLauncher):
    """Launcher of jobs as an array of Slurm jobs: `hydra/launcher=slurm`."""

    where = "smallgpt.launch.slurm.Slurm"


class RayLauncher(SweepLauncher):
    """Launcher of jobs as tasks of a Ray cluster: `hydra/launcher=ray`."""

    where = "smallgpt.launch.ray_cluster.RayCluster"
