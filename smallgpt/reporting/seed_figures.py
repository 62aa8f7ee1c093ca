"""Pictures of the answer: every seed's loss with its arm's interval, and the differences from the baseline."""

from collections.abc import Sequence
from typing import Any

from smallgpt.reporting.charts import Figure, colour, figure, layered, tooltip, values
from smallgpt.reporting.quality_figures import interval
from smallgpt.reporting.ranking import shown_arms
from smallgpt.reporting.statistics import SPLITS, compare_arms
from smallgpt.reporting.study import Comparison

ROW = 36  # height of an arm with its name above it


def seed_figures(comparison: Comparison) -> list[Figure]:
    """A row an arm: its losses, and where it has a baseline the difference from that."""
    arms = [arm for arm in shown_arms(comparison) if comparison.losses(arm)]
    if not arms:
        return []
    means: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    gaps: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    compared = compare_arms(comparison)
    for arm in arms:
        losses, baseline = comparison.losses(arm), comparison.baseline_of(arm)
        means.append({"arm": arm.label, **interval(list(losses.values()))})
        points += [{"arm": arm.label, "seed": seed, "loss": loss} for seed, loss in losses.items()]
        if baseline is None or (gap := compared.get(arm.label)) is None:
            continue
        ends = {"low": gap.low, "high": gap.high} if gap.low is not None else {"low": gap.value, "high": gap.value}
        row = {"arm": arm.label, "baseline": baseline.label, "loss": gap.value, "verdict": gap.verdict}
        gaps.append(row | ends)
        theirs = comparison.losses(baseline)
        pairs += [{"arm": arm.label, "seed": s, "loss": losses[s] - theirs[s]} for s in losses if s in theirs]
    labels = [arm.label for arm in arms]
    title = f"{SPLITS[comparison.split].capitalize()} loss of every seed, with the 95 % interval of the mean"
    x_title = f"loss ({comparison.loss_unit})"
    found = [rows_of_arms("seeds", title, x_title, labels, means, points)]
    if gaps:
        title = "Difference from the baseline, seed by seed, with its 95 % interval"
        found.append(
            rows_of_arms("differences", title, f"difference in {x_title}", labels, gaps, pairs, to_baseline=True)
        )
    return found


def rows_of_arms(
    name: str,
    title: str,
    x_title: str,
    labels: Sequence[str],
    means: list[dict[str, Any]],
    points: list[dict[str, Any]],
    to_baseline: bool = False,
) -> Figure:
    """Points of the seeds under a mark for the mean, in a row an arm."""
    import altair as alt

    own = [row["arm"] for row in means]
    # each label above its row: beside it there is no room on a phone
    above = alt.Axis(labelAlign="left", labelPadding=-4, labelOffset=-11, labelLimit=400, ticks=False, domain=False)
    y = alt.Y("arm:N", title=None, sort=own, axis=above)
    x = alt.X("loss:Q", title=x_title, scale=alt.Scale(zero=to_baseline, padding=12), axis=alt.Axis(tickCount=6))
    shade = colour(labels).legend(None)
    base = alt.Chart(values(means)).encode(y=y, color=shade)
    tips = tooltip("arm", "loss", "low", "high", *(("baseline", "verdict") if to_baseline else ("seeds",)))
    seeds = alt.Chart(values(points)).encode(x=x, y=y, color=shade, tooltip=tooltip("arm", "seed", "loss"))
    layers: list[Any] = [
        base.encode(x="low:Q", x2="high:Q").mark_rule(strokeWidth=3, opacity=0.55, yOffset=6),
        seeds.mark_point(size=36, opacity=0.8, yOffset=6),
        base.encode(x=x, tooltip=tips).mark_tick(thickness=3, size=15, yOffset=6),
    ]
    if to_baseline:
        zero = alt.Chart(values([{"loss": 0}])).encode(x="loss:Q")
        layers.insert(0, zero.mark_rule(strokeDash=[4, 3], color="#888"))
    return figure(name, "answer", title, layered(*layers), ROW * len(own))
