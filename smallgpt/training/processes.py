"""Processes of a distributed run: who starts them, how they share a machine, and how they end together.

On one machine the first process starts the others, each as `python -m smallgpt.launch.process DIRECTORY`; torchrun and
Slurm start all of them. What the others print is kept, and shown only when one of them fails.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins import ClusterEnvironment
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy

from smallgpt.errors import UserError
from smallgpt.machine.cores import available_cores
from smallgpt.ranks import started_by
from smallgpt.settings import Settings, Trainer
from smallgpt.training.launcher import Launcher


def check_processes(settings: Settings) -> None:
    """Raises UserError where the processes that were started are not those that the settings ask for."""
    trainer, outside = settings.trainer, started_by()
    if outside is None and trainer.num_nodes > 1:
        raise UserError(f"trainer.num_nodes={trainer.num_nodes}: start it with torchrun or srun on every machine")
    if outside and outside[2] != trainer.processes:
        raise UserError(
            f"trainer.devices={trainer.devices}: {outside[0]} started {outside[2]} processes, and "
            f"trainer.devices * trainer.num_nodes = {trainer.processes}"
        )
    if trainer.strategy == "fsdp" and trainer.processes > 1 and settings.compile:
        raise UserError("trainer.strategy=fsdp: compile=true does not work with it; trainer=ddp or compile=false")


def share_cores(trainer: Trainer) -> None:
    """Sets the CPU threads of this process: its share of the cores, where nobody has said how many."""
    threads = trainer.threads
    if threads is None and "OMP_NUM_THREADS" not in os.environ:
        # PyTorch knows a CPU's real cores, but not the limit of a container
        threads = min(torch.get_num_threads(), max(1, available_cores() // trainer.devices))
    if threads is not None:
        torch.set_num_threads(threads)


def seed_of_rank(rank: int, step: int) -> None:
    """Gives a process random numbers of its own, for dropout; all began with the same, for the same weights."""
    torch.manual_seed(int(np.random.SeedSequence([torch.initial_seed(), rank, step]).generate_state(1)[0]))


def strategy(trainer: Trainer, run_dir: Path) -> ParallelStrategy | str:
    """Lightning's strategy for the settings; one process needs none."""
    if trainer.processes == 1:
        return "auto"
    timeout = timedelta(seconds=trainer.timeout)
    if trainer.strategy == "fsdp":
        from smallgpt.training.sharding import Sharded

        return Sharded(run_dir, trainer.processes, cluster(), timeout)
    return DDP(
        run_dir, cluster_environment=cluster(), gradient_as_bucket_view=True, broadcast_buffers=False, timeout=timeout
    )


def cluster() -> ClusterEnvironment:
    """Lightning's view of who started the processes: torchrun, Slurm or nobody."""
    outside = started_by()
    if outside is None:
        return LightningEnvironment()
    # smallgpt saves on Slurm's signals itself
    return TorchElasticEnvironment() if outside[0] == "torchrun" else SLURMEnvironment(auto_requeue=False)


class DDP(DDPStrategy):
    """Strategy for DDP with our own launcher of its processes."""

    def __init__(self, run_dir: Path, **options: Any) -> None:
        super().__init__(**options)
        self.run_dir = run_dir

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = Launcher(self.run_dir, self.cluster_environment, self.num_processes, self.num_nodes)
