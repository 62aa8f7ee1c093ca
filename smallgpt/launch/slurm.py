"""`hydra/launcher=slurm`: the jobs of a sweep as one array of Slurm jobs, by submitit.

Each job goes on in its own directory after a preemption or at its time limit: Slurm warns with SIGUSR2, the run saves
between two steps (`smallgpt.training.interruption`), and submitit's handler puts it back into the queue.
"""

import os
import secrets
import shlex
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from smallgpt.errors import UserError, nearest_key
from smallgpt.files import write_text
from smallgpt.launch.launcher_options import Positive
from smallgpt.launch.process import BUSY, main
from smallgpt.launch.sweep_job import SweepJob
from smallgpt.packages import private, require
from smallgpt.ranks import is_first_process, python_path
from smallgpt.results import read_result
from smallgpt.settings import Trainer

NEEDED_PROGRAMS = ("sbatch", "srun", "sacct")


class Slurm:
    """Slurm cluster that runs the jobs of a sweep, whose directory must be on a disk that all machines share.

    Args:
        n_jobs: number of jobs of the array that run at the same time.
        max_num_timeout: how often a job that reached its time limit is queued again.
        parameters: those of submitit's SlurmExecutor, by its names; a null one is left out.
    """

    queues = True

    def __init__(self, n_jobs: Positive, max_num_timeout: int, **parameters: Any) -> None:
        require("hydra/launcher=slurm", "submitit")
        for program in NEEDED_PROGRAMS:
            if shutil.which(program) is None:
                raise UserError(f"hydra/launcher=slurm: no {program} here; start the sweep on a login node")
        self.n_jobs, self.max_num_timeout = n_jobs, max_num_timeout
        self.parameters = {key: value for key, value in parameters.items() if value is not None}
        self.check_names()

    def check_names(self) -> None:
        from submitit import SlurmExecutor

        with private("submitit"):
            known = {*SlurmExecutor._valid_parameters(), *SlurmExecutor._equivalence_dict()}
        for key, value in self.parameters.items():
            if key not in known:
                raise UserError(f"hydra.launcher.{key}={value}: unknown key{nearest_key(key, known)}")

    def check(self, trainer: Trainer) -> None:
        if trainer.accelerator == "auto":
            raise UserError("trainer.accelerator=auto: a login node cannot know; give trainer.accelerator=gpu or =cpu")

    def start(self, jobs: list[SweepJob]) -> None:
        from submitit import SlurmJob

        groups: dict[tuple, list[SweepJob]] = {}
        here = secrets.token_hex(8)
        for job in jobs:
            queued = read_id(job.run_dir)
            if queued:
                process = SlurmProcess(SlurmJob(job.run_dir.parent / ".submitit", queued), job.run_dir)
                if process.is_known() and process.poll() is None:
                    job.process = process
                    continue
            # of a name that nobody knows before: submitit unpickles what lies in it under the number of a job
            folder = job.run_dir.parent / ".submitit" / here
            needs = (job.trainer.num_nodes, job.trainer.devices, job.trainer.accelerator)
            groups.setdefault((folder, *needs), []).append(job)
        for (folder, *needs), group in groups.items():
            submitted = self.executor(folder, *needs).map_array(Task(), [job.run_dir for job in group])
            for job, slurm_job in zip(group, submitted, strict=True):
                write_text(job.run_dir / ".slurm", slurm_job.job_id)
                job.process = SlurmProcess(slurm_job, job.run_dir)

    def executor(self, folder: Path, nodes: int, devices: int, accelerator: str) -> Any:
        from submitit import SlurmExecutor

        executor = SlurmExecutor(folder, max_num_timeout=self.max_num_timeout)
        parameters = {
            "name": "smallgpt",
            **self.parameters,
            "nodes": nodes,
            "tasks_per_node": devices,
            "array_parallelism": self.n_jobs,
            "setup": [f"export PYTHONPATH={shlex.quote(python_path())}", *self.parameters.get("setup", [])],
            "srun_args": ["--kill-on-bad-exit=1"],  # a process that dies takes the others with it
        }
        if accelerator == "gpu":
            parameters["gpus_per_node"] = devices
        with private("submitit"):
            converted = executor._convert_parameters(parameters)
        executor.update_parameters(**converted)
        return executor

    def stop(self, jobs: list[SweepJob]) -> str:
        ids = " ".join(filter(None, [read_id(job.run_dir) for job in jobs]))
        return f"{len(jobs)} jobs stay with Slurm; the same command waits for them, `scancel {ids}` ends them"


class Task:
    """Work of one process of a job; submitit calls `checkpoint` before it queues the job again."""

    def __call__(self, run_dir: Path) -> int:
        if is_first_process():
            log = os.open(run_dir / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)
        return main(run_dir)

    def checkpoint(self, run_dir: Path) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, run_dir)


class SlurmProcess:
    """Slurm job with the methods of a `Process`; it runs as long as any of its tasks runs or waits in the queue.

    How it ended says result.json: what submitit keeps is a pickle, which runs whatever somebody has put there.
    """

    def __init__(self, job: Any, run_dir: Path) -> None:
        self.job, self.run_dir = job, run_dir

    def is_known(self) -> bool:
        """Whether Slurm knows the job."""
        return self.job.watcher.get_state(self.job.job_id, mode="force") != "UNKNOWN"

    def poll(self) -> int | None:
        if (read_result(self.run_dir) or {}).get("status") == "completed":
            return 0
        if not self.job.watcher.is_done(self.job.job_id):
            return None
        with suppress(Timeout), FileLock(self.run_dir / ".lock", timeout=0):
            return 1
        return BUSY

    def terminate(self) -> None:
        self.job.cancel(check=False)


def read_id(run_dir: Path) -> str | None:
    """Slurm's number of the job that was last submitted for a run directory, or None."""
    path = run_dir / ".slurm"
    return path.read_text() if path.exists() else None
