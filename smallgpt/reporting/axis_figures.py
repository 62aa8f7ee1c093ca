"""Pictures of what a study varies: each of its axes against loss and against cost."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from smallgpt.errors import shown
from smallgpt.reporting.arms import Arm
from smallgpt.reporting.axis_units import Measure
from smallgpt.reporting.charts import Figure, colour, figure, layered, tooltip, values
from smallgpt.reporting.naming import labels, short_names
from smallgpt.reporting.quality_figures import COST_AXES, interval, loss_title, with_intervals
from smallgpt.reporting.ranking import others_last
from smallgpt.reporting.statistics import mean
from smallgpt.reporting.study import Comparison

if TYPE_CHECKING:
    import altair as alt


def axes(comparison: Comparison) -> list[Figure]:
    """What the arms vary, against loss and against cost: a line for each of the other choices."""
    import altair as alt

    figures = []
    loss, measure = loss_title(comparison), COST_AXES["cost", "inference_flops_per_token"]
    keys = list(dict.fromkeys(name for arm in comparison.arms for name in arm.named))
    for key, short in short_names(keys).items():
        others = [{name: value for name, value in arm.named.items() if name != key} for arm in comparison.arms]
        rows: list[dict[str, Any]] = []
        for arm, series in zip(comparison.arms, labels([arm.variant for arm in comparison.arms], others), strict=True):
            if key not in arm.named:
                continue
            value = number_or_text(arm.named[key])
            scores = list(comparison.losses(arm).values())
            flops = arm.number("cost", "inference_flops_per_token")
            row = {"arm": arm.label, "series": series, "value": value, "cost": flops}
            rows.append(row | (interval(scores) if scores else {}))
        found = list(dict.fromkeys(row["value"] for row in rows))
        if len(found) < 2:
            continue
        x = value_axis(key, found)
        lines = best_first(rows)
        for field in ("loss", "cost"):
            known = [row for row in rows if row.get(field) is not None]
            if len({row["value"] for row in known}) < 2 or len({row[field] for row in known}) < 2:
                continue
            costs = [row["cost"] for row in known]
            title, ticks = (measure.title(costs), measure.ticks(costs)) if field == "cost" else (loss, alt.Axis())
            y = alt.Y(f"{field}:Q", title=title, scale=alt.Scale(zero=False), axis=ticks)
            base = alt.Chart(values(known)).encode(x=x, y=y, color=colour(lines, "series"))
            line = base.mark_line(strokeWidth=1.5, opacity=0.7)
            layers = [line, *with_intervals(known, x, y, lines, "series", field)]
            if comparison.baseline and key not in comparison.baseline.named:
                layers += reference(comparison, comparison.baseline, field)
            name = f"axis_{key.replace('.', '_')}_{field}"
            title = f"{short} against {'loss' if field == 'loss' else measure.name}"
            figures.append(figure(name, "axis", title, layered(*layers)))
    return figures


def tuned_axes(comparison: Comparison) -> list[Figure]:
    """The validation loss at every value that was tried of a tuned axis, a line for each arm."""
    import altair as alt

    figures = []
    for key, short in short_names(comparison.tuned_keys).items():
        rows: list[dict[str, Any]] = [
            {"arm": arm.label, "value": number_or_text(trial.values[key]), **interval(trial.losses)}
            for arm in comparison.arms
            for trial in (arm.tuning.tried if arm.tuning else ())
            if trial.losses and key in trial.values
        ]
        found = list(dict.fromkeys(row["value"] for row in rows))
        if len(found) < 2:
            continue
        drawn = {row["arm"] for row in rows}
        labels = [arm.label for arm in others_last(comparison) if arm.label in drawn]
        x = value_axis(key, found)
        y = alt.Y("loss:Q", title=f"validation loss ({comparison.loss_unit})", scale=alt.Scale(zero=False))
        line = alt.Chart(values(rows)).encode(x=x, y=y, color=colour(labels)).mark_line(strokeWidth=1.5, opacity=0.7)
        chart = layered(line, *with_intervals(rows, x, y, labels))
        figures.append(figure(f"tuned_{key.replace('.', '_')}", "axis", f"{short} that was tried against loss", chart))
    return figures


def best_first(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Names of the lines, that with the lowest loss first."""
    lowest: dict[str, float] = {}
    for row in rows:
        lowest[row["series"]] = min(lowest.get(row["series"], math.inf), row.get("loss", math.inf))
    return sorted(lowest, key=lambda series: lowest[series])


def value_axis(key: str, found: Sequence[float | str], field: str = "value") -> "alt.X":
    """An axis of numbers, where all are numbers, else of texts; few numbers are its ticks."""
    import altair as alt

    numbers = [value for value in found if not isinstance(value, str)]
    if len(numbers) == len(found):
        ticks = alt.Axis(values=numbers, format=",~r") if len(found) < 8 else alt.Axis()
        return Measure(key).x(field, numbers).title(key).axis(ticks)
    return alt.X(f"{field}:N", title=key, sort=[str(value) for value in found], axis=alt.Axis(labelAngle=0))


def reference(comparison: Comparison, baseline: Arm, field: str) -> list["alt.Chart"]:
    """A dashed line at the height of the baseline."""
    import altair as alt

    scores = list(comparison.losses(baseline).values())
    height = baseline.number("cost", "inference_flops_per_token")
    if field == "loss":
        height = mean(scores).value if scores else None
    if height is None:
        return []
    chart = alt.Chart(values([{"arm": baseline.label, field: height}]))
    encoded = chart.encode(y=f"{field}:Q", tooltip=tooltip("arm", field))
    return [encoded.mark_rule(strokeDash=[4, 3], strokeWidth=1.5, color="#888")]


def number_or_text(value: Any) -> float | str:
    """Value of a config as a figure takes it: numbers stay numbers."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else shown(value)
