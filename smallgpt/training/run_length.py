"""Length of a run: how much of its budget is spent, and the stopwatches that count its time."""

import time
from dataclasses import dataclass

VALIDATIONS_A_RUN = 10


@dataclass(frozen=True)
class RunLength:
    """The end of a run, in optimizer steps or in seconds of training; exactly one is given."""

    steps: int | None = None
    seconds: float | None = None

    def progress(self, step: int, elapsed: float) -> float:
        """Fraction of the budget that `step` steps and `elapsed` seconds are; over 1 beyond the budget."""
        if self.steps is not None:
            return step / self.steps
        assert self.seconds is not None
        return elapsed / self.seconds

    def reached(self, step: int, elapsed: float) -> bool:
        """Whether the run ends here. A step that has begun is finished, so there is always one."""
        return step >= 1 and self.progress(step, elapsed) >= 1

    def validations(self, step: int, elapsed: float, every: int | None) -> int:
        """Number of validations that are due by now: one every `every` steps, or ten per run."""
        if every is not None:
            return step // every
        if self.steps is not None:
            return step * VALIDATIONS_A_RUN // self.steps
        return int(self.progress(step, elapsed) * VALIDATIONS_A_RUN)


class Stopwatch:
    """A stopwatch that is paused: training time has nothing of validating and saving, and of a stopped process."""

    def __init__(self, counted: float = 0.0) -> None:
        self._counted = counted
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        return self._counted + running

    def start(self) -> None:
        if self._since is None:
            self._since = time.perf_counter()

    def mark(self) -> None:
        """Counts what has passed so far for good; called after each batch."""
        if self._since is not None:
            self.pause()
            self.start()

    def leave_out(self) -> None:
        """Drops what has passed since the last mark: the process was stopped meanwhile (SIGSTOP, Ctrl-Z)."""
        if self._since is not None:
            self._since = time.perf_counter()

    def pause(self) -> None:
        self._counted = self.seconds
        self._since = None

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self.pause()
