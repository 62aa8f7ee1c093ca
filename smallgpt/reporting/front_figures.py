"""Pictures of the Pareto front of a search: its first metric against each of the others, a point an arm."""

from typing import Any

from smallgpt.reporting.axis_units import Measure
from smallgpt.reporting.charts import Figure, colour, figure, layered, legend, tooltip, values
from smallgpt.reporting.front import by_seed, on_the_front, values_of
from smallgpt.reporting.quality_figures import COST_AXES, interval
from smallgpt.reporting.statistics import SPLITS, undominated
from smallgpt.reporting.study import Comparison

KINDS = {"on the front": "circle", "baseline, on the front": "diamond", "baseline": "diamond", "beaten": "cross"}
"""What a point is, with the shape that says so."""


def front_figures(comparison: Comparison) -> list[Figure]:
    """The first metric of a search against each other one; the dashed line joins what is best at each cost."""
    score, *costs = comparison.metrics
    rows = front_rows(comparison)
    found = []
    for metric in costs:
        section, _, key = metric.partition(".")
        measure = COST_AXES.get((section, key)) or Measure(metric)
        points = [row | {"cost": row[metric], "cost text": measure.text(row[metric])} for row in rows]
        if points:
            title = f"{name_of_score(comparison, score)} against {measure.name}"
            name = f"front_{metric.replace('.', '_')}"
            found.append(figure(name, "quality", title, front_chart(comparison, points, measure)))
    return found


def front_chart(comparison: Comparison, points: list[dict[str, Any]], measure: Measure) -> Any:
    """Chart of the points over one cost, with their intervals and the line of the front in these two metrics."""
    import altair as alt

    x = measure.x("cost", [row["cost"] for row in points])
    y = alt.Y("loss:Q", title=name_of_score(comparison, comparison.metrics[0]), scale=alt.Scale(zero=False))
    best = undominated(points, lambda row, other: row["loss"] < other["loss"])
    line = alt.Chart(values(best)).encode(x=x, y=y)
    variants = list(dict.fromkeys(row["variant"] for row in points))
    kinds = [kind for kind in KINDS if any(row["point"] == kind for row in points)]
    shapes = alt.Scale(domain=kinds, range=[KINDS[kind] for kind in kinds])
    faint = alt.condition("indexof(datum.point, 'front') < 0", alt.value(0.35), alt.value(0.9))
    base = alt.Chart(values(points)).encode(x=x, color=colour(variants, "variant"), opacity=faint)
    tips = tooltip("arm", "point", "cost", "loss", "low", "high", "seeds")
    return layered(
        line.mark_line(interpolate="step-after", color="#888", strokeDash=[4, 3], strokeWidth=1.5),
        base.encode(y="low:Q", y2="high:Q").mark_rule(strokeWidth=1.5),
        base.encode(y=y, shape=alt.Shape("point:N", scale=shapes, legend=legend(kinds)), tooltip=tips).mark_point(
            filled=True, size=110
        ),
    )


def front_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """A row for each arm that has all metrics, with the interval of the first."""
    front = {arm.label for arm in on_the_front(comparison.arms, comparison.metrics, comparison.split)}
    rows = []
    for arm in comparison.arms:
        found = values_of(arm, comparison.metrics, comparison.split)
        if found is None:
            continue
        is_baseline = arm in comparison.references
        kind = "on the front" if arm.label in front else "beaten"
        if is_baseline:
            kind = "baseline, on the front" if arm.label in front else "baseline"
        scores = list(by_seed(arm, comparison.metrics[0], comparison.split).values())
        row = {"arm": arm.label, "variant": arm.variant, "point": kind, **interval(scores)}
        rows.append(row | dict(zip(comparison.metrics[1:], found[1:], strict=True)))
    return rows


def name_of_score(comparison: Comparison, metric: str) -> str:
    """Name of a metric in words, such as `validation bits per byte`."""
    section, _, key = metric.partition(".")
    return f"{SPLITS[comparison.split] if section == 'val' else section} {key.replace('_', ' ')}"
