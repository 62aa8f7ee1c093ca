"""Speed to a loss: what each arm takes to reach the loss that its baseline ends with, in tokens, FLOPs and seconds."""

from collections.abc import Sequence

from smallgpt.reporting.arms import Arm
from smallgpt.reporting.evaluation_tables import Cell, Table
from smallgpt.reporting.ranking import ranked
from smallgpt.reporting.statistics import mean
from smallgpt.reporting.study import Comparison

AXES = {"tokens": "tokens", "flops": "training FLOPs", "seconds": "seconds of training"}

Curve = Sequence[dict[str, float]]


def speed_tables(comparison: Comparison) -> list[Table]:
    """A row an arm that has a baseline: its cost over the baseline's at the loss that the baseline ends with."""
    rows = []
    for arm in ranked(comparison):
        baseline = comparison.baseline_of(arm)
        if baseline is not None and (row := speed_row(arm, baseline)):
            rows.append([Cell(arm.label), *map(Cell, row)])
    if not rows:
        return []
    notes = [
        "Cost at which an arm first has the validation loss that its baseline ends with, over the baseline's whole "
        "cost, at the same seed; between two validations the curve is taken for straight. Under 1 the arm is faster.",
        "A curve is read before its learning rate has come down, the baseline's end after it: a shorter run of the arm "
        "would get there sooner.",
        "Seconds are those of the machines that the jobs ran on.",
    ]
    return [Table(["arm", *AXES.values()], rows, {"arm"}, notes)]


def speed_row(arm: Arm, baseline: Arm) -> list[str]:
    """Texts of an arm's ratios, on each axis; none where no seed of both has a curve."""
    ends = {job.seed: job.curve[-1] for job in baseline.jobs if job.curve}
    curves = [(job.curve, ends[job.seed]) for job in arm.jobs if job.curve and job.seed in ends]
    if not curves:
        return []
    texts = []
    for axis in AXES:
        found = [ratio_at(curve, end, axis) for curve, end in curves]
        reached = [ratio for ratio in found if ratio is not None]
        if len(reached) < len(found):  # a mean over the luckier seeds would flatter the arm
            texts.append(f"reached on {len(reached)} of {len(found)} seeds" if reached else "not reached")
            continue
        score = mean(reached)
        texts.append(f"{score.value:.3f}" + ("" if score.half_width is None else f" ± {score.half_width:.3f}"))
    return texts


def ratio_at(curve: Curve, end: dict[str, float], axis: str) -> float | None:
    """Cost of a curve at the loss of `end`, over the cost of `end`; None where it never comes down so far."""
    before: dict[str, float] | None = None
    for row in curve:
        if row["val/loss"] <= end["val/loss"]:
            if axis not in row or not end.get(axis):
                return None
            if before is None or axis not in before:
                return row[axis] / end[axis]
            share = (before["val/loss"] - end["val/loss"]) / (before["val/loss"] - row["val/loss"])
            return (before[axis] + share * (row[axis] - before[axis])) / end[axis]
        before = row
    return None
