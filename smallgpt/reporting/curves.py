"""What an arm did while it trained: the mean of its seeds with its interval, point by point, and every single run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from smallgpt.reporting.arms import Arm
from smallgpt.reporting.identical import identical
from smallgpt.reporting.jobs import ReportedJob
from smallgpt.reporting.ranking import shown_arms
from smallgpt.reporting.statistics import t_quantile
from smallgpt.reporting.study import Comparison

SPENT = ("tokens", "flops", "seconds")
"""Columns of metrics.csv that a curve may be drawn against."""
LOSS = "val/loss"
TRAINING = ("train/loss", "train/lr", "train/grad_norm", "speed/tokens_per_second", "speed/mfu")
"""Columns of metrics.csv that say how a training went."""
LINE = 0.005  # of the height of a figure: what lies closer looks like one line
MOST_RUNS = 500  # that a page can show one by one

Columns = dict[str, list[float | None]]


@dataclass(frozen=True)
class ArmCurve:
    """The curves of an arm. Every column has as many entries as the first."""

    label: str
    loss: Columns
    """Tokens, FLOPs and seconds, the mean validation loss, `low` and `high` of its 95 % interval, and the seeds."""
    training: Columns
    """The same of the columns in `TRAINING`, without intervals."""


def arm_curve(arm: Arm) -> ArmCurve:
    """Curves of the jobs of an arm."""
    loss = mean_curve([job.curve for job in arm.jobs], [LOSS], band=LOSS)
    return ArmCurve(arm.label, loss, mean_curve([job.training for job in arm.jobs], TRAINING))


def mean_curve(runs: Sequence[Sequence[dict[str, float]]], keys: Sequence[str], band: str | None = None) -> Columns:
    """Mean of runs at the points of the longest of them; between two points a run is taken for straight.

    Args:
        runs: rows of metrics.csv of each.
        keys: columns that are wanted; one that no run has is left out.
        band: the column whose interval is wanted too.
    """
    import numpy as np

    runs = [[row for row in run if "tokens" in row] for run in runs]
    runs = [run for run in runs if run]
    if not runs:
        return {}
    grid = np.array([row["tokens"] for row in max(runs, key=len)])
    found: Columns = {"tokens": compact(grid)}
    for key in (*SPENT[1:], *keys):
        values = np.full((len(runs), len(grid)), np.nan)
        for i, run in enumerate(runs):
            points = [(row["tokens"], row[key]) for row in run if key in row]
            if points:
                values[i] = np.interp(grid, *zip(*points, strict=True), left=np.nan, right=np.nan)
        number = (~np.isnan(values)).sum(axis=0)
        if not number.any():
            continue
        middle = np.divide(np.nansum(values, axis=0), number, where=number > 0, out=np.full(len(grid), np.nan))
        found[key] = compact(middle)
        if key == band:
            squares = np.nansum((values - middle) ** 2, axis=0)
            spread = np.sqrt(np.divide(squares, number - 1, where=number > 1, out=np.full(len(grid), np.nan)))
            half = spread / np.sqrt(np.maximum(number, 1)) * [t_quantile(int(n) - 1) if n > 1 else 0.0 for n in number]
            found |= {"low": compact(middle - half), "high": compact(middle + half), "seeds": compact(number)}
    return found


def compact(numbers: Iterable[float]) -> list[float | None]:
    """Six digits of each number, which is more than a figure shows; None for none."""
    return [None if number != number else float(f"{number:.6g}") for number in map(float, numbers)]


def run_curve(job: ReportedJob) -> Columns:
    """Validation losses of one run."""
    rows = [row for row in job.curve if "tokens" in row]
    return {key: [row.get(key) for row in rows] for key in (*SPENT, LOSS) if any(key in row for row in rows)}


def spent_key(comparison: Comparison) -> str:
    """What the curves of a study are drawn against first: what its budget is in."""
    budgets = {
        key
        for arm in comparison.arms
        for key in ("flops", "seconds", "tokens", "epochs")
        if arm.described.config.get(f"budget.{key}") is not None
    }
    (key,) = budgets if len(budgets) == 1 else ("tokens",)
    return key if key in SPENT else "tokens"


def coinciding(comparison: Comparison, curves: Sequence[ArmCurve]) -> list[str]:
    """Sentences about lines of which one covers another, so that the eye finds fewer than there are."""
    found = []
    drawn = {arm.label for arm in shown_arms(comparison)}
    same = [[arm.label for arm in group if arm.label in drawn] for group in identical(comparison)]
    for names in same:
        if len(names) > 1:
            found.append(f"{' and '.join(names)} are one line: equal to the last bit.")
    lines = {curve.label: points(curve) for curve in curves if len(curve.loss.get(LOSS, ())) > 1}
    heights = [loss for line in lines.values() for loss in line.values()]
    together: list[tuple[list[str], float]] = []  # names, and how far the first is from the others
    for name in [name for name in lines if not any(name in names[1:] for names in same)]:
        for i, (names, apart) in enumerate(together):
            common = lines[name].keys() & lines[names[0]].keys()
            gap = max((abs(lines[name][at] - lines[names[0]][at]) for at in common), default=max(heights))
            if len(common) > 1 and gap <= LINE * (max(heights) - min(heights)):
                together[i] = ([*names, name], max(apart, gap))
                break
        else:
            together.append(([name], 0.0))
    found += [
        f"{' and '.join(names)} look like one line: nowhere more than {apart:.4f} from the first."
        for names, apart in together
        if len(names) > 1
    ]
    return found


def points(curve: ArmCurve) -> dict[float, float]:
    """Losses of a curve by the tokens that they took."""
    pairs = zip(curve.loss["tokens"], curve.loss[LOSS], strict=True)
    return {tokens: loss for tokens, loss in pairs if tokens is not None and loss is not None}
