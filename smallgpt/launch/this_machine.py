"""`hydra/launcher=processes`: the jobs of a sweep as processes of this machine, each with its share of it."""

import math
import os
import signal
import subprocess
import time
from contextlib import suppress
from itertools import count
from typing import Any

from pydantic import ValidationError

from smallgpt.errors import UserError
from smallgpt.launch.bounds import PER_CORE, uses_gpu
from smallgpt.launch.forked_job import ForkedJob, JobServers
from smallgpt.launch.launcher_options import Positive
from smallgpt.launch.sweep_job import SweepJob, refuse_several_machines
from smallgpt.machine.cores import available_cores
from smallgpt.machine.device import GPU_SHARE, visible_gpus
from smallgpt.notices import say
from smallgpt.ranks import python_path
from smallgpt.settings import Trainer

POLL_SECONDS = 0.05
STOP_SECONDS = 60.0
DISTRIBUTED = ("LOCAL_RANK", "NODE_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class ThisMachine:
    """This machine, which runs `n_jobs` jobs of a sweep at the same time.

    On GPUs that is one on each; with more of them, as many share a GPU, and each may take its share of the memory.
    """

    queues = False

    def __init__(self, n_jobs: Positive | None = None) -> None:
        """
        Args:
            n_jobs: None: as many as the GPUs hold with one process on each, and one on a CPU.
        """
        self.given, self.n_jobs = n_jobs is not None, n_jobs or 1
        self.surroundings = dict(os.environ)  # of now: PyTorch adds to it, and a server is that of one environment
        self.slots: dict[int, ForkedJob | subprocess.Popen] = {}
        self.servers = JobServers()

    def check(self, trainer: Trainer) -> None:
        refuse_several_machines(trainer)
        if not self.given and uses_gpu(trainer.accelerator):
            self.n_jobs = max(self.n_jobs, len(visible_gpus()) // trainer.devices)
        most = max(PER_CORE * available_cores() // trainer.devices, 1)
        if self.n_jobs > most and not uses_gpu(trainer.accelerator):
            raise UserError(
                f"hydra.launcher.n_jobs={self.n_jobs}: at most {most} such jobs at once on the {available_cores()} "
                "cores of this machine"
            )

    def expect(self, plain: dict[str, Any]) -> None:
        """Begins to import what jobs like the one with this config need, while all of them are still checked."""
        with suppress(UserError, ValidationError, TypeError, KeyError):  # the checks say what is wrong
            trainer = Trainer(**plain["trainer"])
            self.check(trainer)
            self.servers.server(self.environment(trainer, 0))

    def start(self, jobs: list[SweepJob]) -> None:
        free = (slot for slot in count() if slot not in self.slots or self.slots[slot].poll() is not None)
        places = [(job, slot, self.environment(job.trainer, slot)) for job, slot in zip(jobs, free, strict=False)]
        for _, _, env in places:
            self.servers.server(env)  # all of them import at the same time
        for job, slot, env in places:
            with (job.run_dir / "log.txt").open("ab") as log:
                self.slots[slot] = job.process = self.servers.start(job.run_dir, env, log)

    def environment(self, trainer: Trainer, slot: int) -> dict[str, str]:
        """Environment of a job with this trainer: its share of the machine, no other job's process group."""
        env = {key: value for key, value in self.surroundings.items() if key not in DISTRIBUTED}
        env["PYTHONPATH"] = python_path()
        devices = trainer.devices
        if uses_gpu(trainer.accelerator):
            gpus = visible_gpus()
            if len(gpus) >= devices:  # else the job itself says that there are too few
                env["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[(slot * devices + i) % len(gpus)] for i in range(devices))
                env[GPU_SHARE] = str(1 / self.jobs_on_a_device(trainer))
        else:
            env.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // (self.n_jobs * devices))))
        return env

    def jobs_on_a_device(self, trainer: Trainer) -> int:
        """Number of jobs at the same time on one GPU, or on the CPU."""
        if not uses_gpu(trainer.accelerator):
            return self.n_jobs
        return math.ceil(self.n_jobs * trainer.devices / max(1, len(visible_gpus())))

    def stop(self, jobs: list[SweepJob]) -> str:
        say(f"stopping {len(jobs)} jobs")
        processes = [process for process in self.slots.values() if process.poll() is None]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        return f"stopped {len(jobs)} jobs; the same command goes on with them"
