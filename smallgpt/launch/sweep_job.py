"""A job of a sweep, and what machines that run jobs can do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from smallgpt.errors import UserError
from smallgpt.results import read_result
from smallgpt.settings import Trainer

OVER = ("completed", "pruned")


class Process(Protocol):
    """Process that runs a job, on whatever machine."""

    def poll(self) -> int | None:
        """Exit code, negative after a signal; None as long as the process waits or runs."""

    def terminate(self) -> None:
        """Asks it to end, and does not wait for it."""


@dataclass
class SweepJob:
    """Job of a sweep: its directory, what it needs, and the process that runs it."""

    run_dir: Path
    overrides: list[str]
    trainer: Trainer
    """Trainer settings, which say what machine the job needs."""
    number: int
    name: str = ""
    """Name in messages: the number, and the overrides that set the job apart."""
    process: Process | None = None
    started: float = 0.0
    logged_otherwise: bool = False
    """Was over before, with another logger."""
    trouble: str = ""
    """Why it has failed, where its own directory cannot hold that."""
    pruned: bool = False
    """Whether it was told to end because it would not be among the best."""

    @property
    def result(self) -> dict[str, Any]:
        return read_result(self.run_dir) or {}

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do, at this start or a later one."""
        return self.result.get("status") in OVER


class Machines(Protocol):
    """Machines that run jobs, each as `python -m smallgpt.launch.process DIRECTORY` or what does the same."""

    n_jobs: int | None
    """Number of jobs that run at the same time; None: the machines know."""
    queues: bool
    """Whether more jobs can be handed over than run at the same time."""

    def check(self, trainer: Trainer) -> None:
        """Raises UserError for a job that cannot run here."""

    def start(self, jobs: list[SweepJob]) -> None:
        """Starts the jobs and sets the `process` of each."""

    def stop(self, jobs: list[SweepJob]) -> str:
        """Ends the jobs, or leaves them, when the sweep is told to stop; returns what to tell the user of them."""


def refuse_several_machines(trainer: Trainer) -> None:
    """Raises UserError for a job on several machines, which only Slurm gives."""
    if trainer.num_nodes > 1:
        raise UserError(f"trainer.num_nodes={trainer.num_nodes}: in a sweep only hydra/launcher=slurm gives several")
