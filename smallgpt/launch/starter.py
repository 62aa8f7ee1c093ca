"""The starter of a sweep: it keeps the machines busy until every job is done, and says how far the sweep is."""

import json
import re
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from smallgpt.files import write_text
from smallgpt.launch.process import BUSY
from smallgpt.launch.sweep_job import OVER, Machines, SweepJob
from smallgpt.notices import say
from smallgpt.run_directory import AT_WORK, cannot_be_written
from smallgpt.stop_signals import StopRequest

POLL_SECONDS = 0.1
LINE_SECONDS = 15.0
BEAT_SECONDS = 15.0  # between two signs of life, a quarter of what task=watch waits for one
LINE_JOBS = 4
LOG_TAIL = 65_536  # bytes of a log that may hold its last line for people, behind a result as JSON
LOOK_SECONDS = 2.0


class Starter:
    """Keeps the machines busy until every job is done, and says how far the sweep is."""

    def __init__(
        self,
        sweep_dir: Path,
        jobs: list[SweepJob],
        machines: Machines,
        hopeless: Callable[[SweepJob], bool] | None = None,
    ):
        self.sweep_dir = sweep_dir
        self.jobs, self.machines, self.hopeless = jobs, machines, hopeless
        self.waiting = [job for job in jobs if not job.over and not job.trouble]
        self.running: list[SweepJob] = []
        self.elsewhere: list[SweepJob] = []
        """Jobs that another starter of the same sweep runs."""
        self.seconds: list[float] = []
        self.next_line = time.monotonic() + LINE_SECONDS
        self.next_look = 0.0
        self.next_beat = 0.0

    def run(self) -> None:
        for job in self.jobs:
            if job.trouble:
                say(f"{self.done} {job.name}: failed: {job.trouble}")
        if skipped := sum(job.over for job in self.jobs):
            pruned = sum(job.result.get("status") == "pruned" for job in self.jobs)
            also = f" ({pruned} of them pruned)" if pruned else ""
            say(f"{skipped} of {len(self.jobs)} jobs are completed and skipped{also}")
            if unlogged := sum(job.logged_otherwise for job in self.jobs):
                say(
                    f"logger: {unlogged} of them ran with another one, and what is over is not logged again; "
                    f"task=log logger=wandb sweep={self.jobs[0].run_dir.parent} sends it to W&B as it is"
                )
        with forwarded_signals(self):
            while self.waiting or self.running or self.elsewhere:
                self.beat()
                self.start()
                self.collect()
                self.prune()
                time.sleep(POLL_SECONDS)

    def beat(self) -> None:
        """Gives a sign of life now and then, for who watches the sweep; a full disk is no reason to stop."""
        if time.monotonic() > self.next_beat:
            self.next_beat = time.monotonic() + BEAT_SECONDS
            with suppress(OSError):
                (self.sweep_dir / AT_WORK).touch()

    def start(self) -> None:
        """Starts as many of the waiting jobs as there is room for."""
        at_once = self.machines.n_jobs
        room = len(self.waiting) if self.machines.queues or at_once is None else at_once - len(self.running)
        chosen: list[SweepJob] = []
        while self.waiting and len(chosen) < room:
            job = self.waiting.pop(0)
            locked = self.is_locked(job)
            if locked is not None:
                (self.elsewhere if locked else chosen).append(job)
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
            elif not self.is_locked(job):  # whoever ran it is gone
                self.elsewhere.remove(job)
                if not job.trouble:
                    self.waiting.append(job)
        if self.running and time.monotonic() > self.next_line:
            self.next_line = time.monotonic() + LINE_SECONDS
            self.progress()

    def is_locked(self, job: SweepJob) -> bool | None:
        """Whether a process, started by this sweep or by another one, is at work on a job.

        None where its directory takes no files: then this job has failed, and no other.
        """
        try:
            (job.run_dir / "log.txt").open("ab").close()
            with FileLock(job.run_dir / ".lock", timeout=0):
                return False
        except Timeout:
            return True
        except OSError as error:
            job.trouble = cannot_be_written(job.run_dir, error)
            say(f"{self.done} {job.name}: failed: {job.trouble}")
            return None

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
        result: dict[str, Any] = job.result
        if job.pruned and not job.over:  # it may have been completed in the meantime
            result = {"overrides": job.overrides, **result, "status": "pruned", "error": None}
            self.write(job, result)
        if result.get("status") in (None, "running") or (code < 0 and result["status"] not in OVER):
            # it died without a word
            reason = f"ended by signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            result = {"status": "failed", "error": f"{reason}; see log.txt", "overrides": job.overrides}
            self.write(job, result)
        if result["status"] == "completed":
            self.seconds.append(seconds)
            loss = result.get("val", {}).get("loss")
            say(
                f"{self.done} {job.name}: " + (f"val/loss {loss:.4f}, " if loss else "") + f"{seconds:.0f} s{self.left}"
            )
        elif result["status"] == "pruned":
            say(f"{self.done} {job.name}: pruned, {seconds:.0f} s")
        else:
            say(f"{self.done} {job.name}: {result['status']}: {job.trouble or result.get('error')}")

    def write(self, job: SweepJob, result: dict[str, Any]) -> None:
        """Writes the result of a job that left none of its own."""
        try:
            write_text(job.run_dir / "result.json", json.dumps(result))
        except OSError as error:
            job.trouble = f"{result['error'] or result['status']}; {cannot_be_written(job.run_dir, error)}"

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
        at_once = min(self.machines.n_jobs or len(self.jobs), len(self.jobs))
        total = (mean * (len(self.waiting) + len(self.running)) - begun) / at_once
        return f", {total // 60:.0f}:{total % 60:02.0f} left"

    def progress(self) -> None:
        logs = [(job.name.partition(" ")[0], last_line(job.run_dir / "log.txt")) for job in self.running]
        lines = [f"{number}: {line}" for number, line in logs if line]
        shown = " | ".join(lines[:LINE_JOBS]) or f"{len(logs)} have yet to begin"
        more = f" and {len(lines) - LINE_JOBS} more" if len(lines) > LINE_JOBS else ""
        say(f"{self.done} {shown}{more}{self.left}")


@contextmanager
def forwarded_signals(starter: Starter) -> Generator[None]:
    """Context in which Ctrl-C, SIGTERM and a closed terminal stop the jobs, then the sweep."""
    request = StopRequest()

    def stop(number: int, _: Any) -> None:
        if request.is_new(number):
            say(starter.machines.stop(starter.running))
            raise SystemExit(128 + number)

    ours = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # by nohup
        ours.remove(signal.SIGHUP)
    kept = {number: signal.signal(number, stop) for number in ours}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def last_line(log: Path) -> str:
    """Last line of a log for people, which the result as JSON is not; empty where there is none yet."""
    try:
        with log.open("rb") as file:
            start = max(0, log.stat().st_size - LOG_TAIL)
            file.seek(start)
            lines = file.read().decode(errors="replace").splitlines()[bool(start) :]  # the first may lack its beginning
            lines = [line for line in lines if not line.startswith('{"')]
    except OSError:
        return ""
    return re.sub(r"\s+", " ", lines[-1]).strip() if lines else ""
