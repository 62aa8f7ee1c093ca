"""The jobs of a sweep, each in a process tree of its own.

Distributed training inside a sweep is then an ordinary single run, a job that dies takes nothing with it, and what is
left on the disk says what is still to do: the same command goes on where it was.
"""

import json
import re
import signal
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf, open_dict

from smallgpt.errors import UserError
from smallgpt.files import write_text
from smallgpt.launch.command_line import chosen_files, given
from smallgpt.launch.loading import resolved_config
from smallgpt.launch.process import BUSY
from smallgpt.notices import say
from smallgpt.results import read_result
from smallgpt.run_directory import SPEED_KEYS, write_config
from smallgpt.settings import Trainer

POLL_SECONDS = 0.2
LINE_SECONDS = 15.0
LINE_JOBS = 4
LOOK_SECONDS = 2.0
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

    n_jobs: int
    """Number of jobs that run at the same time."""
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


def launch(
    loader: ConfigLoader,
    config: DictConfig,
    job_overrides: Sequence[Sequence[str]],
    first: int,
    machines: Machines,
    hopeless: Callable[[SweepJob], bool] | None = None,
) -> list[JobReturn]:
    """Writes the resolved config of every job, then runs those that are not over; stops those that are hopeless."""
    jobs = [prepare_job(loader, config, list(words), first + i) for i, words in enumerate(job_overrides)]
    shared = set.intersection(*[set(job.overrides) for job in jobs])
    for job in jobs:
        machines.check(job.trainer)
        words = [word for word in job.overrides if word not in shared and word.partition("=")[0] not in SPEED_KEYS]
        job.name = " ".join([job.run_dir.name, *words])
    Starter(jobs, machines, hopeless).run()
    returns = []
    for job in jobs:
        returned = JobReturn(overrides=job.overrides, working_dir=str(job.run_dir))
        returned.return_value = job.result
        returned.status = JobStatus.COMPLETED  # the report names jobs that failed; Hydra would stop at the first
        returns.append(returned)
    return returns


def prepare_job(loader: ConfigLoader, config: DictConfig, words: list[str], number: int) -> SweepJob:
    """Makes the directory of a job with its config, resolved now: later edits of a YAML change nothing."""
    composed = loader.load_sweep_config(config, words)
    with open_dict(composed):
        composed.hydra.job.id = composed.hydra.job.num = number
    HydraConfig.instance().set_config(composed)
    run_dir = Path(composed.hydra.sweep.dir) / str(composed.hydra.sweep.subdir)
    plain = resolved_config(OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"]))
    plain["resume"] = "auto"  # a job that was cut off goes on
    overrides = given(composed.hydra)
    job = SweepJob(run_dir.absolute(), overrides, Trainer(**plain["trainer"]), number)
    run_dir.mkdir(parents=True, exist_ok=True)
    if job.over:
        before = run_dir / "config.yaml"
        job.logged_otherwise = before.exists() and logger_of(OmegaConf.load(before)) != logger_of(composed)
    else:
        write_config(run_dir, plain)
        record = {"overrides": overrides, "choices": chosen_files(composed.hydra)}
        write_text(run_dir / ".job.json", json.dumps(record))
    return job


def logger_of(config: Any) -> str | None:
    """The class of a config's logger."""
    return OmegaConf.select(config, "logger._target_")


class Starter:
    """Keeps the machines busy until every job is done, and says how far the sweep is."""

    def __init__(self, jobs: list[SweepJob], machines: Machines, hopeless: Callable[[SweepJob], bool] | None = None):
        self.jobs, self.machines, self.hopeless = jobs, machines, hopeless
        self.waiting = [job for job in jobs if not job.over]
        self.running: list[SweepJob] = []
        self.elsewhere: list[SweepJob] = []
        """Jobs that another starter of the same sweep runs."""
        self.seconds: list[float] = []
        self.next_line = time.monotonic() + LINE_SECONDS
        self.next_look = 0.0

    def run(self) -> None:
        if skipped := len(self.jobs) - len(self.waiting):
            pruned = sum(job.result.get("status") == "pruned" for job in self.jobs)
            also = f" ({pruned} of them pruned)" if pruned else ""
            say(f"{skipped} of {len(self.jobs)} jobs are completed and skipped{also}")
            if unlogged := sum(job.logged_otherwise for job in self.jobs):
                say(
                    f"logger: {unlogged} of them ran with another one, and what is over is not logged again; another "
                    "hydra.sweep.dir= runs them anew"
                )
        with forwarded_signals(self):
            while self.waiting or self.running or self.elsewhere:
                self.start()
                self.collect()
                self.prune()
                time.sleep(POLL_SECONDS)

    def start(self) -> None:
        """Starts as many of the waiting jobs as there is room for."""
        room = len(self.waiting) if self.machines.queues else self.machines.n_jobs - len(self.running)
        chosen: list[SweepJob] = []
        while self.waiting and len(chosen) < room:
            job = self.waiting.pop(0)
            (self.elsewhere if is_locked(job) else chosen).append(job)
        if not chosen:
            return
        self.machines.start(chosen)
        for job in chosen:
            job.started = time.monotonic()
            self.running.append(job)
            say(f"started {job.name}")

    def collect(self) -> None:
        for job in list(self.running):
            assert job.process is not None
            code = job.process.poll()
            if code is None:
                continue
            self.running.remove(job)
            if code == BUSY:
                self.elsewhere.append(job)
                continue
            self.finished(job, code)
        for job in list(self.elsewhere):
            if job.over:
                self.elsewhere.remove(job)
                say(f"{self.done} {job.name}: completed by another starter")
            elif not is_locked(job):  # whoever ran it is gone
                self.elsewhere.remove(job)
                self.waiting.append(job)
        if self.running and time.monotonic() > self.next_line:
            self.next_line = time.monotonic() + LINE_SECONDS
            self.progress()

    def prune(self) -> None:
        if self.hopeless is None or time.monotonic() < self.next_look:
            return
        self.next_look = time.monotonic() + LOOK_SECONDS
        for job in self.running:
            assert job.process is not None
            if not job.pruned and self.hopeless(job):
                job.pruned = True
                job.process.terminate()

    def finished(self, job: SweepJob, code: int) -> None:
        seconds = time.monotonic() - job.started
        if job.pruned and not job.over:  # it may have been completed in the meantime
            record = {"overrides": job.overrides, **job.result, "status": "pruned", "error": None}
            write_text(job.run_dir / "result.json", json.dumps(record))
        result = job.result
        if not result.get("status") or (code < 0 and result["status"] not in OVER):
            # it died without a word
            reason = f"ended by signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            record: dict[str, Any] = {"status": "failed", "error": f"{reason}; see log.txt", "overrides": job.overrides}
            write_text(job.run_dir / "result.json", json.dumps(record))
            result = record
        if result["status"] == "completed":
            self.seconds.append(seconds)
            loss = result.get("val", {}).get("loss")
            say(
                f"{self.done} {job.name}: " + (f"val/loss {loss:.4f}, " if loss else "") + f"{seconds:.0f} s{self.left}"
            )
        elif result["status"] == "pruned":
            say(f"{self.done} {job.name}: pruned, {seconds:.0f} s")
        else:
            say(f"{self.done} {job.name}: {result['status']}: {result.get('error')}")

    @property
    def done(self) -> str:
        left = len(self.waiting) + len(self.running) + len(self.elsewhere)
        return f"[{len(self.jobs) - left}/{len(self.jobs)}]"

    @property
    def left(self) -> str:
        """Estimate of the time left, from the jobs done so far."""
        if not self.seconds:
            return ""
        mean, now = sum(self.seconds) / len(self.seconds), time.monotonic()
        begun = sum(min(mean, now - job.started) for job in self.running)
        total = (mean * (len(self.waiting) + len(self.running)) - begun) / min(self.machines.n_jobs, len(self.jobs))
        return f", {total // 60:.0f}:{total % 60:02.0f} left"

    def progress(self) -> None:
        logs = [(job.name.partition(" ")[0], last_line(job.run_dir / "log.txt")) for job in self.running]
        lines = [f"{number}: {line}" for number, line in logs if line]
        shown = " | ".join(lines[:LINE_JOBS]) or f"{len(logs)} have yet to begin"
        more = f" and {len(lines) - LINE_JOBS} more" if len(lines) > LINE_JOBS else ""
        say(f"{self.done} {shown}{more}{self.left}")


@contextmanager
def forwarded_signals(starter: Starter) -> Generator[None]:
    """Context in which Ctrl-C and SIGTERM stop the jobs, then the sweep."""

    def stop(number: int, _: Any) -> None:
        say(starter.machines.stop(starter.running))
        raise SystemExit(128 + number)

    kept = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def is_locked(job: SweepJob) -> bool:
    """Whether a process, started by this sweep or by another one, is at work in the directory of a job."""
    try:
        with FileLock(job.run_dir / ".lock", timeout=0):
            return False
    except Timeout:
        return True


def last_line(log: Path) -> str:
    """Last line of a log for people, which the result as JSON is not; empty where there is none yet."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 500))
            lines = [line for line in file.read().decode(errors="replace").splitlines() if not line.startswith('{"')]
    except OSError:
        return ""
    return re.sub(r"\s+", " ", lines[-1]).strip() if lines else ""
