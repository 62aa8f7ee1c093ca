"""A tuned axis: each arm uses its own best of the values that were tried, chosen by validation loss."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from smallgpt.reporting.jobs import ReportedJob
from smallgpt.reporting.naming import hashable


@dataclass(frozen=True)
class Trial:
    """One value of each tuned axis, with the validation losses of its jobs; those that failed have none."""

    values: dict[str, Any]
    losses: list[float]


@dataclass(frozen=True)
class Tuning:
    """How the values of an arm's tuned axes were chosen."""

    tried: list[Trial]
    """Values that were tried, in the order of the jobs."""
    chosen: dict[str, Any]
    seeds: list[int | None]
    """Seeds on which all values were tried: the lowest mean validation loss over them decides.

    Empty where there are none; then each value's own seeds decide.
    """
    other_seeds: bool
    """The arm is reported on seeds that did not choose."""

    @property
    def edges(self) -> dict[str, Any]:
        """Chosen numbers beside which, on one side, nothing was tried."""
        found = {}
        for key, value in self.chosen.items():
            values = {trial.values[key] for trial in self.tried if is_number(trial.values.get(key))}
            if len(values) > 1 and is_number(value) and value in (min(values), max(values)):
                found[key] = value
        return found


def tuned(
    completed: Sequence[ReportedJob], failed: Sequence[ReportedJob], keys: Collection[str]
) -> tuple[tuple[list[ReportedJob], Tuning | None], list[ReportedJob]]:
    """The jobs that stand for an arm with how they were chosen, and jobs whose seed is there already.

    Args:
        completed: jobs that differ in the seed and the tuned axes alone.
        failed: jobs of the same kind; a value at which training diverges was tried, and is not the best.
        keys: the tuned axes.
    """
    trials: dict[tuple, dict[int | None, ReportedJob]] = {}
    repeated = []
    for job in completed:
        seeds = trials.setdefault(values_of(job, keys), {})
        if job.seed in seeds:
            repeated.append(job)
        else:
            seeds[job.seed] = job
    tried_on = {values: set(seeds) for values, seeds in trials.items()}
    for job in failed:
        tried_on.setdefault(values_of(job, keys), set()).add(job.seed)
    if len(tried_on) == 1:
        return (list(next(iter(trials.values())).values()), None), repeated
    common = set.intersection(*tried_on.values())

    losses = {
        values: {seed: job.section("val").get("loss") for seed, job in seeds.items()}
        for values, seeds in trials.items()
    }

    def score(values: tuple) -> float:
        known = [losses[values].get(seed) for seed in common or losses[values]]
        return sum(math.inf if loss is None else loss for loss in known) / len(known)

    best = min(trials, key=score)
    others = [job for seed, job in trials[best].items() if seed not in common]
    jobs = others if others and common else list(trials[best].values())
    seeds = sorted(common, key=lambda seed: (seed is None, seed))
    tried = [
        Trial(dict(values), [loss for loss in losses.get(values, {}).values() if loss is not None])
        for values in tried_on
    ]
    return (jobs, Tuning(tried, dict(best), seeds, bool(others and common))), repeated


def values_of(job: ReportedJob, keys: Collection[str]) -> tuple[tuple[str, Any], ...]:
    """Values of the tuned axes in a job."""
    return tuple((key, hashable(job.compared[key])) for key in keys if key in job.compared)


def is_number(value: Any) -> bool:
    """Whether a value is a number that can be compared."""
    return isinstance(value, int | float) and not isinstance(value, bool)
