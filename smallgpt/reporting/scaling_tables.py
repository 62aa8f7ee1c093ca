"""Scaling as tables: what was fitted to each arm, and whether its gain over the baseline grows with size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from smallgpt.reporting.arm_table import difference_text
from smallgpt.reporting.axis_units import Measure
from smallgpt.reporting.evaluation_tables import Cell, Table
from smallgpt.reporting.scaling import (
    ArmSeries,
    ArmSize,
    FittedNumber,
    ScalingCurve,
    fit_curves,
    pooled_spread,
    scaling_series,
)
from smallgpt.reporting.statistics import Difference, Mean, difference, mean
from smallgpt.reporting.study import Comparison

CANNOT_TELL = "cannot tell"
STEADY = 0.5  # a gain stays if its change is certainly less than this share of it
FIXED = 0.1  # E is known if its interval is narrower than this share of the lowest loss
ONE_COMPUTE = 0.05  # by which arms of one size may differ in training FLOPs
PARAMETERS, FLOPS = Measure("parameters"), Measure("training compute", "FLOP")


@dataclass(frozen=True)
class SizeGaps:
    """An arm against the baseline at each size that both have."""

    label: str
    pairs: list[tuple[ArmSize, ArmSize]]
    """The arm's size and the baseline's."""

    @property
    def gaps(self) -> list[Difference]:
        return [difference(size.losses, base.losses) for size, base in self.pairs]

    @property
    def change(self) -> Mean | None:
        """Change of the gap from the smallest size to the largest, along the line through all sizes, over the seeds.

        None where no seed has all sizes.
        """
        from scipy import stats

        seeds = set.intersection(*[size.losses.keys() & base.losses.keys() for size, base in self.pairs])
        x = [math.log(base.compute) for _, base in self.pairs]
        rises = []
        for seed in sorted(seeds, key=str):
            gaps = [size.losses[seed] - base.losses[seed] for size, base in self.pairs]
            rises.append(float(stats.linregress(x, gaps).slope) * (x[-1] - x[0]))
        return mean(rises) if rises else None


def scaling_tables(comparison: Comparison) -> list[Table]:
    """The table of the fits, and where there is a baseline that of the gaps; none where no arm has three sizes."""
    series = scaling_series(comparison)
    curves = fit_curves(series)
    gaps = [found for each in series if (found := size_gaps(comparison, each, series))]
    return [*([fit_table(series, curves)] if series else []), *([gap_table(gaps)] if gaps else [])]


def size_gaps(comparison: Comparison, series: ArmSeries, others: Sequence[ArmSeries]) -> SizeGaps | None:
    """Pairs an arm's sizes with those of its baseline; None for the baseline itself, and where sizes have none."""
    by_label = {size.arm.label: size for other in others for size in other.sizes}
    pairs = []
    for size in series.sizes:
        baseline = comparison.baseline_of(size.arm)
        if baseline is None or baseline.label not in by_label:
            return None
        pairs.append((size, by_label[baseline.label]))
    return SizeGaps(series.label, pairs) if len({base.arm.label for _, base in pairs}) == len(pairs) else None


def fit_table(series: Sequence[ArmSeries], curves: dict[str, ScalingCurve]) -> Table:
    """A row an arm: the numbers of its curve."""
    rows = []
    for each in series:
        curve = curves.get(each.label)
        computes = f"{FLOPS.text(each.sizes[0].compute)} to {FLOPS.text(each.sizes[-1].compute)}"
        texts = [number_text(each) for each in (curve.floor, curve.scale, curve.exponent)] if curve else [""] * 3
        rows.append([Cell(text) for text in (each.label, str(len(each.sizes)), computes, *texts)])
    columns = ["arm", "sizes", "training compute", "E [95 %]", "a [95 %]", "b [95 %]"]
    return Table(columns, rows, {"arm", "training compute"}, fit_notes(series, curves))


def fit_notes(series: Sequence[ArmSeries], curves: dict[str, ScalingCurve]) -> list[str]:
    """What the fits mean, how their intervals were made, and what the data cannot fix."""
    found = []
    if curves:
        fitted = [each for each in series if each.label in curves]
        sizes = [size for each in fitted for size in each.sizes]
        curve = curves[fitted[0].label]
        spread, freedom = pooled_spread(sizes)
        left = len(sizes) - 1 - 2 * len(fitted)
        found.append(
            f"L(C) = E + a (C / C0)^-b, in nats a token; C is training compute, C0 = {FLOPS.text(curve.smallest)}. All "
            f"arms share one E and are fitted together by least squares: {len(sizes)} means for {1 + 2 * len(fitted)} "
            f"numbers. An arm that has a floor of its own shows it as a smaller b."
        )
        if left <= 0:
            found.append("No freedom is left: the curve passes through the points, whether or not losses fall so.")
        if freedom:
            found.append(
                f"Intervals: each mean loss is drawn again with the spread of the seeds ({spread:.4f} nats, pooled, "
                f"{freedom} degrees of freedom), and the fit repeated. They hold the noise of the seeds, not what is "
                "wrong with the form of the curve."
            )
        else:
            found.append("One seed of each: no interval is known.")
        lowest, floor = min(size.loss for size in sizes), curve.floor
        if floor.low is None or floor.high is None or floor.high - floor.low > FIXED * lowest or floor.low <= 0:
            found.append(
                "These sizes and seeds do not fix E; a and b move with it. The curve describes the range that was "
                "measured: do not extend it."
            )
    if rising := [each.label for each in series if each.label not in curves]:
        found.append(f"No curve: the loss does not fall with size for {', '.join(rising)}.")
    return found


def gap_table(rows_of: Sequence[SizeGaps]) -> Table:
    """A row an arm: its loss less the baseline's at each size, how that changes with size, and what to conclude."""
    steps = max(len(row.pairs) for row in rows_of)
    rows, uneven = [], False
    for row in rows_of:
        gaps, change = row.gaps, row.change
        cells = [
            f"{difference_text(gap)} ({PARAMETERS.text(base.parameters)})"
            for gap, (_, base) in zip(gaps, row.pairs, strict=True)
        ]
        cells += [""] * (steps - len(cells))
        rows.append([Cell(text) for text in (row.label, *cells, mean_text(change), course(gaps[0], gaps[-1], change))])
        uneven = uneven or any(abs(size.compute / base.compute - 1) > ONE_COMPUTE for size, base in row.pairs)
    notes = [
        "At each size the arm's loss less that of the baseline, of as many parameters as stand in brackets, over the "
        "seeds that both have, with its 95 % interval; under 0 the arm is better.",
        "Change: of that gap from the smallest size to the largest, along the line through all sizes in ln C, a line a "
        "seed, with the 95 % t interval over the seeds. It needs no curve.",
        "A gain or deficit stays if that interval has 0 in it and lies within half of what it is at the smallest size; "
        "it vanishes if it is certain at the smallest size, certainly changes, and is not certain at the largest.",
    ]
    if uneven:
        notes.append(
            f"At one size the arms differ by over {ONE_COMPUTE:.0%} in training compute: their gap is not one at equal "
            "compute."
        )
    columns = ["arm", *[f"size {i + 1}" for i in range(steps)], "change [95 %]", "with size"]
    return Table(columns, rows, {"arm", "with size"}, notes)


def course(start: Difference, end: Difference, change: Mean | None) -> str:
    """What becomes of a gain or deficit from the smallest size to the largest, as far as the seeds can tell."""
    if change is None or change.half_width is None:
        return f"{CANNOT_TELL}: one seed"
    low, high = change.value - change.half_width, change.value + change.half_width
    first, last = gain_or_deficit(start), gain_or_deficit(end)
    if low <= 0 <= high:
        steady = first is not None and first == last and max(-low, high) <= STEADY * abs(start.value)
        return f"the {first} stays" if steady else CANNOT_TELL
    better = change.value < 0
    if last is None:
        lost = first == ("deficit" if better else "gain")
        return f"the {first} vanishes" if lost else CANNOT_TELL
    if first is not None and first != last:
        return f"the {first} turns into a {last}"
    return f"the {last} {'grows' if better == (last == 'gain') else 'shrinks'}"


def gain_or_deficit(gap: Difference) -> str | None:
    """Word for a gap in loss; None where the seeds cannot tell it from 0."""
    if gap.low is None or gap.high is None or gap.low <= 0 <= gap.high:
        return None
    return "gain" if gap.value < 0 else "deficit"


def number_text(number: FittedNumber) -> str:
    """A fitted number with its interval, where it has one."""
    value, low, high = number
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def mean_text(change: Mean | None) -> str:
    """A change with its interval, where it has one."""
    if change is None:
        return ""
    if change.half_width is None:
        return f"{change.value:+.4f}"
    low, high = change.value - change.half_width, change.value + change.half_width
    return f"{change.value:+.4f} [{low:+.4f}, {high:+.4f}]"
