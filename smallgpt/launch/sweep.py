"""The jobs of a sweep, each in a process tree of its own.

Distributed training inside a sweep is then an ordinary single run, a job that dies takes nothing with it, and what is
left on the disk says what is still to do: the same command goes on where it was.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf, open_dict

from smallgpt.launch.command_line import given
from smallgpt.launch.process import BUSY
from smallgpt.run_directory import read_result, write_config, write_text
from smallgpt.settings import resolved

ROOT = Path(__file__).parents[2]
POLL_SECONDS = 0.2
LINE_SECONDS = 15.0
STOP_SECONDS = 60.0
DISTRIBUTED = ("LOCAL_RANK", "NODE_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass
class Job:
    run_dir: Path
    overrides: list[str]
    devices: int
    on_gpu: bool
    name: str = ""
    """Its number and what sets it apart."""
    process: subprocess.Popen | None = None
    log: IO[bytes] | None = None
    slot: int = 0
    started: float = 0.0

    @property
    def result(self) -> dict[str, Any]:
        return read_result(self.run_dir) or {}

    @property
    def completed(self) -> bool:
        return self.result.get("status") == "completed"


def launch(
    loader: ConfigLoader, config: DictConfig, job_overrides: Sequence[Sequence[str]], first: int, n_jobs: int
) -> list[JobReturn]:
    """Writes the resolved config of every job, then runs those that are not completed, `n_jobs` at a time."""
    jobs = [prepare(loader, config, list(words), first + i) for i, words in enumerate(job_overrides)]
    shared = set.intersection(*[set(job.overrides) for job in jobs]) if len(jobs) > 1 else set()
    for job in jobs:
        job.name = " ".join([job.run_dir.name, *[word for word in job.overrides if word not in shared]])
    Starter(jobs, n_jobs).run()
    returns = []
    for job in jobs:
        returned = JobReturn(overrides=job.overrides, working_dir=str(job.run_dir))
        returned.return_value = job.result
        returned.status = JobStatus.COMPLETED  # the report names jobs that failed; Hydra would stop at the first
        returns.append(returned)
    return returns


def prepare(loader: ConfigLoader, config: DictConfig, words: list[str], number: int) -> Job:
    """The directory of a job with its config, resolved now: later edits of a YAML change nothing."""
    composed = loader.load_sweep_config(config, words)
    with open_dict(composed):
        composed.hydra.job.id = composed.hydra.job.num = number
    HydraConfig.instance().set_config(composed)
    run_dir = Path(composed.hydra.sweep.dir) / str(composed.hydra.sweep.subdir)
    plain = resolved(OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"]))
    plain["resume"] = "auto"  # a job that was cut off goes on
    overrides = given(composed.hydra)
    job = Job(
        run_dir=run_dir.absolute(),
        overrides=overrides,
        devices=plain["trainer"]["devices"],
        on_gpu=uses_gpu(plain["trainer"]["accelerator"]),
    )
    run_dir.mkdir(parents=True, exist_ok=True)
    if not job.completed:
        write_config(run_dir, plain)
        variant = str(composed.hydra.runtime.choices["model"])
        write_text(run_dir / ".job.json", json.dumps({"overrides": overrides, "variant": variant}))
    return job


def uses_gpu(accelerator: str) -> bool:
    import torch

    return accelerator == "gpu" or (accelerator == "auto" and torch.cuda.is_available())


class Starter:
    """Keeps up to `n_jobs` processes busy until every job is done, and says how far the sweep is."""

    def __init__(self, jobs: list[Job], n_jobs: int):
        self.jobs, self.n_jobs = jobs, max(1, n_jobs)
        self.waiting = [job for job in jobs if not job.completed]
        self.running: list[Job] = []
        self.elsewhere: list[Job] = []
        """Run by another starter of the same sweep."""
        self.seconds: list[float] = []
        self.next_line = time.monotonic() + LINE_SECONDS

    def run(self) -> None:
        if skipped := len(self.jobs) - len(self.waiting):
            say(f"{skipped} of {len(self.jobs)} jobs are completed and skipped")
        with forwarded_signals(self):
            while self.waiting or self.running or self.elsewhere:
                while self.waiting and len(self.running) < self.n_jobs:
                    job = self.waiting.pop(0)
                    if is_locked(job):
                        self.elsewhere.append(job)
                    else:
                        self.start(job)
                self.collect()
                time.sleep(POLL_SECONDS)

    def start(self, job: Job) -> None:
        job.slot = min(set(range(self.n_jobs)) - {other.slot for other in self.running})
        job.started = time.monotonic()
        job.log = (job.run_dir / "log.txt").open("ab")
        command = [sys.executable, "-m", "smallgpt.launch.process", str(job.run_dir)]
        job.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=job.log,
            stderr=subprocess.STDOUT,
            env=self.environment(job),
            start_new_session=True,  # Ctrl-C reaches the starter, which tells the jobs
        )
        self.running.append(job)
        say(f"started {job.name}")

    def environment(self, job: Job) -> dict[str, str]:
        """Its share of the machine, and nothing of another job's process group."""
        env = {key: value for key, value in os.environ.items() if key not in DISTRIBUTED}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
        if job.on_gpu:
            visible = env.get("CUDA_VISIBLE_DEVICES")
            gpus = visible.split(",") if visible else [str(i) for i in range(self.n_jobs * job.devices)]
            env["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[job.slot * job.devices : (job.slot + 1) * job.devices])
        else:
            share = max(1, (os.cpu_count() or 1) // (self.n_jobs * job.devices))
            env.setdefault("OMP_NUM_THREADS", str(share))
        return env

    def collect(self) -> None:
        for job in list(self.running):
            assert job.process is not None and job.log is not None
            code = job.process.poll()
            if code is None:
                continue
            self.running.remove(job)
            job.log.close()
            if code == BUSY:
                self.elsewhere.append(job)
                continue
            self.finished(job, code)
        for job in list(self.elsewhere):
            if job.completed:
                self.elsewhere.remove(job)
                say(f"{self.done} {job.name}: completed by another starter")
            elif not is_locked(job):  # whoever ran it is gone
                self.elsewhere.remove(job)
                self.waiting.append(job)
        if time.monotonic() > self.next_line:
            self.next_line = time.monotonic() + LINE_SECONDS
            self.progress()

    def finished(self, job: Job, code: int) -> None:
        seconds = time.monotonic() - job.started
        result = job.result
        if not result.get("status") or (code < 0 and result["status"] != "completed"):
            # it died without a word
            reason = f"ended by signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            record = {"status": "failed", "error": f"{reason}; see log.txt", "overrides": job.overrides}
            write_text(job.run_dir / "result.json", json.dumps(record))
            result = record
        if result["status"] == "completed":
            self.seconds.append(seconds)
            loss = result.get("val", {}).get("loss")
            say(
                f"{self.done} {job.name}: " + (f"val/loss {loss:.4f}, " if loss else "") + f"{seconds:.0f} s{self.left}"
            )
        else:
            say(f"{self.done} {job.name}: {result['status']}: {result.get('error')}")

    @property
    def done(self) -> str:
        left = len(self.waiting) + len(self.running) + len(self.elsewhere)
        return f"[{len(self.jobs) - left}/{len(self.jobs)}]"

    @property
    def left(self) -> str:
        """Time left, from the jobs done so far."""
        if not self.seconds:
            return ""
        mean, now = sum(self.seconds) / len(self.seconds), time.monotonic()
        begun = sum(min(mean, now - job.started) for job in self.running)
        total = (mean * (len(self.waiting) + len(self.running)) - begun) / self.n_jobs
        return f", {total // 60:.0f}:{total % 60:02.0f} left"

    def progress(self) -> None:
        lines = [f"{job.name.partition(' ')[0]}: {last_line(job.run_dir / 'log.txt')}" for job in self.running]
        say(f"{self.done} running " + " | ".join(lines) + self.left)

    def stop(self) -> None:
        """Lets the jobs save and end."""
        for job in self.running:
            assert job.process is not None
            job.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for job in self.running:
            assert job.process is not None
            try:
                job.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(job.process.pid, signal.SIGKILL)


@contextmanager
def forwarded_signals(starter: Starter) -> Generator[None]:
    """Ctrl-C and SIGTERM stop the jobs, then the sweep."""

    def stop(number: int, _: Any) -> None:
        say(f"stopping {len(starter.running)} jobs; the same command goes on with them")
        starter.stop()
        raise SystemExit(128 + number)

    kept = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def is_locked(job: Job) -> bool:
    """Whether a process, of this starter or of another, is at work in its directory."""
    try:
        with FileLock(job.run_dir / ".lock", timeout=0):
            return False
    except Timeout:
        return True


def last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 500))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return re.sub(r"\s+", " ", lines[-1]).strip() if lines else ""


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
