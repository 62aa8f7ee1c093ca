"""A sweep while it runs: its jobs, how far all of them are, the lowest loss so far, and when it has ended."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from smallgpt.errors import UserError
from smallgpt.files import nearest_beside
from smallgpt.reporting.jobs import is_run
from smallgpt.reporting.live_jobs import DEAD_SECONDS, DONE, LiveJob, changed
from smallgpt.reporting.searches import sweeper_of
from smallgpt.run_directory import AT_WORK, read_unwritable

BEAT_SECONDS = 60.0  # a sweep at work says so four times as often
BETWEEN_SECONDS = 60.0  # in which one job has ended and the next has written nothing yet
OF_THE_TEXT = ("data", "tokenizer", "validation", "experiment", "debug")
"""Groups that change what a validation reads: losses of jobs that differ in one of them are not compared."""


class LiveSweep:
    """Jobs of a sweep's directory, read again at each `refresh`.

    Raises:
        UserError: there is no such directory, or no sweep in it.
    """

    def __init__(self, sweep_dir: Path) -> None:
        if not sweep_dir.is_dir():
            raise UserError(f"sweep={sweep_dir}: no such directory{nearest_beside(sweep_dir)}")
        self.sweep_dir = sweep_dir
        self.jobs: dict[str, LiveJob] = {}
        self.refresh()
        if not self.jobs and not (sweep_dir / "multirun.yaml").exists():
            why = "is a single run" if is_run(sweep_dir) else "holds no job"
            raise UserError(f"sweep={sweep_dir}: {why}; give the directory of a sweep, such as multirun_outputs/STUDY")
        # a search makes its jobs one after the other
        trials = sweeper_of(sweep_dir).get("n_trials")
        self.planned = trials if isinstance(trials, int) else 0

    def refresh(self) -> None:
        """Looks for new jobs, and reads what has changed of the others."""
        failed = read_unwritable(self.sweep_dir)
        for path in self.sweep_dir.glob("*"):
            if path.name not in self.jobs and is_run(path):
                self.jobs[path.name] = LiveJob(path.name, path)
        for name, result in failed.items():
            job = self.jobs.setdefault(name, LiveJob(name, self.sweep_dir / name))
            job.result, job.state = result, "failed"
        for name, job in self.jobs.items():
            if name not in failed:
                job.refresh()

    @property
    def in_order(self) -> list[LiveJob]:
        """Jobs by their numbers."""
        return sorted(self.jobs.values(), key=lambda job: (len(job.name), job.name))

    @property
    def states(self) -> Counter[str]:
        """Number of jobs in each state."""
        return Counter(job.state for job in self.jobs.values())

    @property
    def to_come(self) -> int:
        """Number of jobs that have not begun, those of a search that are not chosen yet among them."""
        return self.states["waiting"] + max(0, self.planned - len(self.jobs))

    @property
    def total(self) -> int:
        return max(self.planned, len(self.jobs))

    @property
    def ended(self) -> int:
        """Number of jobs that have ended, in whatever way."""
        return sum(job.ended for job in self.jobs.values())

    @property
    def progress(self) -> float:
        """Fraction of the whole that is done, each job for the same part of it."""
        running = [job.progress or 0.0 for job in self.jobs.values() if job.state == "running"]
        return (self.ended + sum(running)) / max(1, self.total)

    @property
    def is_complete(self) -> bool:
        """Whether every job is completed, or pruned."""
        return bool(self.jobs) and self.total == sum(self.states[state] for state in DONE)

    @property
    def is_over(self) -> bool:
        """Whether nothing works on it any more: it has ended, or was stopped."""
        if time.time() - changed(self.sweep_dir / AT_WORK) < BEAT_SECONDS:
            return False
        if self.jobs and self.ended == self.total:
            return True
        if any(job.state == "running" and job.silent < DEAD_SECONDS for job in self.jobs.values()):
            return False
        begun = changed(self.sweep_dir / "multirun.yaml")  # before its jobs, which are checked first
        return time.time() - max([begun, *(job.moved for job in self.jobs.values())]) > BETWEEN_SECONDS

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all jobs are done, by the median of those that are; None while nothing tells."""
        running = [job for job in self.jobs.values() if job.state == "running"]
        left = [job.seconds_left for job in running]
        whole = [job.seconds for job in self.jobs.values() if job.state == "completed"]
        each = median([seconds for seconds in whole if seconds is not None]) if whole else expected(running)
        if each is None:
            return None
        rest = [each if seconds is None else seconds for seconds in left]
        if not self.to_come:
            return max(rest, default=0.0)
        return (sum(rest) + each * self.to_come) / max(1, len(running))

    @property
    def lowest(self) -> list[LiveJob]:
        """The job with the lowest validation loss so far, one for each text that jobs are validated on."""
        best: dict[tuple[str, ...], LiveJob] = {}
        for job in self.in_order:
            if job.metrics.lowest is not None:
                text = tuple(word for word in job.words if word.lstrip("+").startswith(OF_THE_TEXT))
                if text not in best or job.metrics.lowest < (best[text].metrics.lowest or 0.0):
                    best[text] = job
        return list(best.values())

    def names(self) -> dict[str, str]:
        """What each job is called: its arm and its seed, or the words that set it apart."""
        jobs = self.in_order
        shared = set.intersection(*[set(job.words) for job in jobs]) if jobs else set()
        return {job.name: called(job, shared) for job in jobs}


def called(job: LiveJob, shared: set[str]) -> str:
    """Name of a job, such as `lineargpt lr=0.001 seed=2`."""
    own = [word for word in job.words if word not in shared and not word.startswith("model=")]
    arm = job.begun.get("arm")
    if isinstance(arm, str):
        return " ".join([arm, *[word for word in own if word.startswith("seed=")]])
    choices = job.begun.get("choices") or job.result.get("choices")
    variant = choices.get("model") if isinstance(choices, dict) else None
    return " ".join([str(variant or "?"), *own])


def expected(running: Sequence[LiveJob]) -> float | None:
    """Seconds that a job will take by the pace of those that run; None where none of them tells."""
    found = [
        so_far / done for job in running if (so_far := job.metrics.latest.get("seconds")) and (done := job.progress)
    ]
    return median(found) if found else None
