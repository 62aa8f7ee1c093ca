"""Pictures of a study: the loss against what was spent, the Pareto fronts, and what the arms vary."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from smallgpt.reporting.arms import Arm, Comparison, ReportedJob, differences
from smallgpt.reporting.charts import Figure, axis, colour, dashes, figure, legend, tooltip, values
from smallgpt.reporting.diagrams import diagrams, parameter_bars
from smallgpt.reporting.evaluation_figures import evaluation_figures
from smallgpt.reporting.inference_figures import inference_figures
from smallgpt.reporting.inferences import INFERENCE_AXES
from smallgpt.reporting.statistics import mean, undominated

if TYPE_CHECKING:
    import altair as alt

LOSS = "validation loss (nats a token)"
RUN_AXES = {"tokens": "training tokens", "flops": "training FLOPs", "seconds": "seconds of training"}
COST_AXES = {  # what a job's result may have, and how a figure calls it
    ("cost", "parameters"): "parameters",
    ("train", "flops"): "training FLOPs",
    ("cost", "inference_flops_per_token"): "inference FLOPs a token",
    ("cost", "cache_bytes_per_token"): "cache bytes a token",
    **{("inference", key): title for key, title in INFERENCE_AXES.items()},
}


def draw(comparison: Comparison, others: Sequence[ReportedJob] = ()) -> list[Figure]:
    """Every figure that the results have numbers for.

    Args:
        comparison: the arms.
        others: jobs of no arm, whose curves are shown too.
    """
    figures = [*loss_curves(comparison, others), *pareto(comparison), *axes(comparison)]
    figures += [*inference_figures(comparison), *evaluation_figures(comparison), *parameter_bars(comparison)]
    return figures + diagrams(comparison)


def loss_curves(comparison: Comparison, others: Sequence[ReportedJob]) -> list[Figure]:
    """Validation loss of every run against what it has taken."""
    import altair as alt

    runs = [(arm.label, job) for arm in comparison.arms for job in arm.jobs]
    runs += [(f"{job.variant} ({job.status})", job) for job in others]
    rows = [
        {"arm": label, "job": job.name, "seed": job.seed, "loss": point["val/loss"]}
        | {key: point.get(key) for key in RUN_AXES}
        for label, job in runs
        for point in job.curve
    ]
    if not rows:
        return []
    figures = []
    labels = list(dict.fromkeys(row["arm"] for row in rows))
    chosen = alt.selection_point(name="chosen", fields=["arm"], bind="legend", toggle="true")
    zoom = alt.selection_interval(name="zoom", bind="scales", zoom="wheel![event.shiftKey]")
    for key, title in RUN_AXES.items():
        base = alt.Chart(values(rows)).encode(
            x=alt.X(f"{key}:Q", title=title, axis=alt.Axis(format="~s", tickCount=6)),
            y=alt.Y("loss:Q", title=LOSS, scale=alt.Scale(zero=False)),
            color=colour(labels),
            detail="job:N",
            opacity=alt.condition(chosen, alt.value(0.9), alt.value(0.06)),
        )
        # equal runs lie on each other; the dashes show both
        lines = base.encode(strokeDash=dashes(labels)).mark_line(strokeWidth=1.8)
        points = base.encode(tooltip=tooltip("arm", "job", "seed", key, "loss")).mark_circle(size=36)
        chart = alt.layer(lines, points).add_params(chosen, zoom)
        figures.append(figure(f"loss_{key}", "loss", f"Validation loss against {title}", chart))
    return figures


def pareto(comparison: Comparison) -> list[Figure]:
    """Loss against each cost, with the arms that no other beats in both."""
    import altair as alt

    figures = []
    labels = [arm.label for arm in comparison.arms]
    for (section, key), title in COST_AXES.items():
        rows = []
        for arm in comparison.arms:
            cost = value_of(arm, section, key)
            if cost is not None and (scores := list(arm.by_seed().values())):
                rows.append({"arm": arm.label, "cost": cost, **interval(scores)})
        if len({row["cost"] for row in rows}) < 2:
            continue
        x = axis("cost", title, [row["cost"] for row in rows])
        y = alt.Y("loss:Q", title=LOSS, scale=alt.Scale(zero=False))
        front = alt.Chart(values(undominated(rows))).encode(x=x, y=y)
        line = front.mark_line(interpolate="step-after", color="#888", strokeDash=[4, 3], strokeWidth=1.5)
        layers = [line, *with_intervals(rows, x, y, labels)]
        name = f"quality_{'latency' if key == 'seconds_per_token' else key}"
        figures.append(figure(name, "quality", f"Loss against {title}", alt.layer(*layers)))
    return figures


def axes(comparison: Comparison) -> list[Figure]:
    """What the arms vary, against loss and against cost: a line for each of the other choices."""
    import altair as alt

    figures = []
    for key, short in differences([arm.choices for arm in comparison.arms]).items():
        others = {name: word for name, word in differences([a.choices for a in comparison.arms]).items() if name != key}
        rows = []
        for arm in comparison.arms:
            if (value := number_or_text(arm.choices.get(key))) is None:
                continue
            series = " ".join(
                [arm.variant, *[f"{word}={arm.choices[name]}" for name, word in others.items() if name in arm.choices]]
            )
            scores = list(arm.by_seed().values())
            flops = arm.number("cost", "inference_flops_per_token")
            row = {"arm": arm.label, "series": series, "value": value, "cost": flops}
            rows.append(row | (interval(scores) if scores else {}))
        found = list(dict.fromkeys(row["value"] for row in rows))
        if len(found) < 2:
            continue
        numbers = all(isinstance(value, int | float) for value in found)
        if numbers:
            x = axis("value", key, found).axis(alt.Axis(values=found, format="~g") if len(found) < 8 else alt.Axis())
        else:
            x = alt.X("value:N", title=key, sort=[str(value) for value in found], axis=alt.Axis(labelAngle=0))
        labels = list(dict.fromkeys(row["series"] for row in rows))
        for field, title in (("loss", LOSS), ("cost", COST_AXES["cost", "inference_flops_per_token"])):
            known = [row for row in rows if row.get(field) is not None]
            if len({row["value"] for row in known}) < 2 or len({row[field] for row in known}) < 2:
                continue
            ticks = alt.Axis() if field == "loss" else alt.Axis(format="~s")
            y = alt.Y(f"{field}:Q", title=title, scale=alt.Scale(zero=False), axis=ticks)
            base = alt.Chart(values(known)).encode(x=x, y=y, color=colour(labels, "series"))
            line = base.mark_line(strokeWidth=1.5, opacity=0.7)
            layers = [line, *with_intervals(known, x, y, labels, "series", field)]
            if key not in comparison.baseline.choices:
                layers += reference(comparison.baseline, field)
            name = f"axis_{key.replace('.', '_')}_{field}"
            title = f"{short} against {'loss' if field == 'loss' else title}"
            figures.append(figure(name, "axis", title, alt.layer(*layers)))
    return figures


def reference(baseline: Arm, field: str) -> list["alt.Chart"]:
    """A dashed line at the height of the baseline."""
    import altair as alt

    scores = list(baseline.by_seed().values())
    height = baseline.number("cost", "inference_flops_per_token")
    if field == "loss":
        height = mean(scores).value if scores else None
    if height is None:
        return []
    chart = alt.Chart(values([{"arm": baseline.label, field: height}]))
    encoded = chart.encode(y=f"{field}:Q", tooltip=tooltip("arm", field))
    return [encoded.mark_rule(strokeDash=[4, 3], strokeWidth=1.5, color="#888")]


def with_intervals(
    rows: Sequence[dict[str, Any]],
    x: "alt.X",
    y: "alt.Y",
    labels: Sequence[str],
    by: str = "arm",
    field: str = "loss",
) -> list["alt.Chart"]:
    """A point each, with its 95 % interval where the field is the loss."""
    import altair as alt

    base = alt.Chart(values(rows)).encode(x=x, color=colour(labels, by))
    shape = alt.Shape(f"{by}:N", scale=alt.Scale(domain=list(labels)), legend=legend(labels))
    tips = tooltip("arm", "value" if by == "series" else "cost", "loss", "low", "high", "seeds")
    points = base.encode(y=y, shape=shape, tooltip=tips).mark_point(filled=True, size=90, opacity=0.85)
    if field != "loss":
        return [points]
    return [base.encode(y="low:Q", y2="high:Q").mark_rule(strokeWidth=1.5), points]


def interval(scores: Sequence[float]) -> dict[str, float | int]:
    score = mean(scores)
    half = score.half_width or 0.0
    return {"loss": score.value, "low": score.value - half, "high": score.value + half, "seeds": score.n}


def value_of(arm: Arm, section: str, key: str) -> float | None:
    if (section, key) == ("train", "flops"):
        return training_flops(arm.jobs[0])
    return arm.number(section, key)


def training_flops(job: ReportedJob) -> float | None:
    each, tokens = job.section("cost").get("training_flops_per_token"), job.section("train").get("tokens")
    return each * tokens if each and tokens else job.section("cost").get("training_flops")


def number_or_text(text: str | None) -> float | str | None:
    try:
        number = None if text is None else float(text)
    except ValueError:
        return text
    return int(number) if number is not None and number.is_integer() else number
