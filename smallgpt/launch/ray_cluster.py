"""`hydra/launcher=ray`: the jobs of a sweep as tasks of a Ray cluster, or of a Ray of this machine's own."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from smallgpt.errors import UserError
from smallgpt.launch.launcher_options import Positive
from smallgpt.launch.sweep_job import SweepJob, refuse_several_machines
from smallgpt.packages import require
from smallgpt.ranks import job_command, python_path
from smallgpt.settings import Trainer

POLL_SECONDS = 0.2
STOP_SECONDS = 60.0


class RayCluster:
    """Ray cluster that runs the jobs of a sweep, whose directory must be on a disk that all machines share.

    Args:
        address: address of the cluster; null: RAY_ADDRESS, or a Ray that is started here and ends with the sweep.
        cpus: number of cores per job; null: one per process.
    """

    queues = True

    def __init__(self, address: str | None, cpus: Positive | None) -> None:
        require("hydra/launcher=ray", "ray")
        self.n_jobs = None  # as many as it has room for
        self.address, self.cpus = address, cpus

    def check(self, trainer: Trainer) -> None:
        refuse_several_machines(trainer)
        if trainer.accelerator == "auto":
            raise UserError("trainer.accelerator=auto: Ray has to be told; give trainer.accelerator=gpu or =cpu")

    def start(self, jobs: list[SweepJob]) -> None:
        address = self.address or os.environ.get("RAY_ADDRESS") or "local"
        if address == "local":
            os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = (
                "0"  # what Ray calls a machine of its own, on the loopback
            )
        import ray

        if not ray.is_initialized():
            handler = signal.getsignal(signal.SIGTERM)
            env = {"env_vars": {"PYTHONPATH": python_path()}}
            try:
                ray.init(
                    address, runtime_env=env, log_to_driver=False, configure_logging=False, include_dashboard=False
                )
            except ConnectionError as error:
                raise UserError(f"hydra.launcher.address={self.address}: no Ray cluster answers") from error
            signal.signal(signal.SIGTERM, handler)  # Ray takes it for itself
        for job in jobs:
            devices = job.trainer.devices
            cpus, gpus = self.cpus or devices, devices if job.trainer.accelerator == "gpu" else 0
            remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=-1)(run)
            job.process = RayProcess(remote.remote(str(job.run_dir), max(1, cpus // devices)))

    def stop(self, jobs: list[SweepJob]) -> str:
        import ray

        tasks = [job.process.task for job in jobs if isinstance(job.process, RayProcess)]
        for task in tasks:
            ray.cancel(task)
        ray.wait(tasks, num_returns=len(tasks), timeout=STOP_SECONDS)
        return f"stopped {len(jobs)} jobs; the same command goes on with them"


class RayProcess:
    """Ray task that runs a job, with the methods of a `Process`."""

    def __init__(self, task: Any) -> None:
        self.task = task

    def poll(self) -> int | None:
        import ray
        from ray.exceptions import RayError

        if not ray.wait([self.task], timeout=0)[0]:
            return None
        try:
            return ray.get(self.task)
        except RayError:
            return 1

    def terminate(self) -> None:
        import ray

        ray.cancel(self.task)


def run(run_dir: str, threads: int) -> int:
    """Runs one job on a Ray worker, in a process of its own; if Ray cancels the task, the run saves before it ends."""
    env = os.environ | {"OMP_NUM_THREADS": str(threads)}
    with Path(run_dir, "log.txt").open("ab") as log:
        process = subprocess.Popen(job_command(Path(run_dir)), env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:  # Ray's KeyboardInterrupt does not end a wait for a process
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            process.terminate()
        return process.wait()
