"""Learning-rate schedules: pure functions of the progress of a run.

A schedule is asked before every optimizer step with `step`, the optimizer steps already done, and
`progress`, the part of the budget already spent (0 at the start, 1 at the end). It keeps nothing,
so a resumed run, a report and a test all get the same learning rate from the same two numbers.
"""

import math
from typing import ClassVar, Self

from pydantic import Field

from smallgpt.errors import UserError
from smallgpt.settings import Group

# the proportions of the paper's recipe: 715 of 19,073 steps of warm-up, then down to a tenth
PAPER_WARMUP = 0.0375
PAPER_FINAL = 0.1


class Schedule(Group):
    """Schedule with a linear warm-up, followed by what `after_warmup` of a subclass says."""

    warmup: float = Field(PAPER_WARMUP, ge=0, le=1e9)
    """Length of the warm-up: steps if 1 or more, else a fraction of the run."""
    extends: ClassVar[bool] = False
    """Whether a finished run can go on to a larger budget as if that had been its own, or after another descent."""

    def for_steps(self, total: int) -> Self:
        """The same schedule, its warm-up in steps, so that the first step is not lost at zero."""
        if self.warmup >= 1:
            return self
        return self.model_copy(update={"warmup": float(round(self.warmup * total))})

    def refuse_endless(self, total: int) -> None:
        """Raises UserError where the warm-up is longer than a run of so many steps, which then never learns."""
        if self.warmup > max(total, 1):
            raise UserError(
                f"schedule.warmup={self.warmup:g}: longer than the run, which has {total:,} steps; under 1 it is a "
                "fraction of the run"
            )

    def factor(self, step: int, progress: float) -> float:
        """Factor that the base learning rate is multiplied by at this step."""
        if self.warmup >= 1:
            if step < self.warmup:
                return (step + 1) / self.warmup
            # the part of the budget that the warm-up took, at the run's pace so far
            start = self.warmup * progress / step
        else:
            if progress < self.warmup:
                return progress / self.warmup
            start = self.warmup
        if start >= 1:
            return 1.0
        return self.after_warmup(min(1.0, max(0.0, progress)), start)

    def after_warmup(self, progress: float, start: float) -> float:
        """The factor at `progress`, for a warm-up that ended at `start`."""
        raise NotImplementedError


class Cosine(Schedule):
    """Schedule of half a cosine, from 1 down to `final`."""

    final: float = Field(PAPER_FINAL, ge=0, le=1)
    """The factor at the end of the run."""

    def after_warmup(self, progress: float, start: float) -> float:
        done = (progress - start) / (1 - start)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * done))


class WSD(Schedule):
    """Schedule of warm-up, stable phase and decay: constant, then in the last `decay` of the run a line to `final`."""

    extends: ClassVar[bool] = True  # from the decayed weights at the full rate again (WSD-S, arXiv 2410.05192)
    decay: float = Field(0.2, gt=0, le=1)
    """The fraction of the run that the descent takes, at its end."""
    final: float = Field(PAPER_FINAL, ge=0, le=1)
    """The factor at the end of the run."""

    def after_warmup(self, progress: float, start: float) -> float:
        descent = max(1 - self.decay, start)
        if progress <= descent:
            return 1.0
        return 1.0 - (1 - self.final) * (progress - descent) / (1 - descent)


class Constant(Schedule):
    """Schedule that stays at the base learning rate after the warm-up."""

    extends: ClassVar[bool] = True

    def after_warmup(self, progress: float, start: float) -> float:
        return 1.0
