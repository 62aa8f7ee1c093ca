"""Figures of a proof of concept: accuracy against each cost with the limits, and what is said for each label."""

from typing import Any

from smallgpt.reporting.axis_units import Measure
from smallgpt.reporting.candidates import MB, Candidate, candidates, decide
from smallgpt.reporting.charts import Figure, colour, figure, layered, legend, values
from smallgpt.reporting.inference_figures import SHAPES
from smallgpt.reporting.study import Comparison

LIMIT = "#b42318"  # colour of a limit's line
COSTS = {  # what a figure shows, how it is read, the limit that belongs to it, and the number that the limit is one of
    "answer": (Measure("time of an answer", "s"), lambda each: each.answer_seconds, "max_answer_ms", 1e-3),
    "memory": (
        Measure("peak resident memory", "B"),
        lambda each: each.memory and each.memory * MB,
        "max_memory_mb",
        MB,
    ),
    "disk": (Measure("disk", "B"), lambda each: each.disk and each.disk * MB, "max_disk_mb", MB),
}


def decision_figures(comparison: Comparison) -> list[Figure]:
    """Accuracy against each cost, and the confusion of the candidate that is shown."""
    found = candidates(comparison)
    if not found:
        return []
    figures = [drawn for name in COSTS if (drawn := accuracy_figure(name, found)) is not None]
    return [*figures, confusion_figure(decide(found).shown)]


def accuracy_figure(name: str, found: list[Candidate]) -> Figure | None:
    """Accuracy with its interval against one cost, a point a candidate; None where no two costs differ."""
    import altair as alt

    measure, read, limit, unit = COSTS[name]
    rows: list[dict[str, Any]] = []
    for each in found:
        if (cost := read(each)) is not None:
            ends = {"accuracy": each.accuracy.value, "low": each.accuracy.low, "high": each.accuracy.high}
            words = {"cost text": measure.text(cost), "accuracy text": f"{each.accuracy.value:.1%}"}
            rows.append(
                {"arm": each.arm.label, "form": each.form, "limits": each.verdict, "cost": cost, **ends, **words}
            )
    if len({row["cost"] for row in rows}) < 2:
        return None
    arms, forms = (list(dict.fromkeys(row[key] for row in rows)) for key in ("arm", "form"))
    x = measure.x("cost", [row["cost"] for row in rows])
    y = alt.Y(
        "accuracy:Q", title="accuracy on the held-out examples", scale=alt.Scale(zero=False), axis=alt.Axis(format="%")
    )
    base = alt.Chart(values(rows)).encode(x=x, color=colour(arms))
    shape = alt.Shape("form:N", scale=alt.Scale(domain=forms, range=SHAPES), legend=legend(forms))
    shown = {"arm": "arm", "form": "form", "accuracy": "accuracy text", measure.name: "cost text", "limits": "limits"}
    tips = [alt.Tooltip(field, type="nominal", title=title) for title, field in shown.items()]
    opacity = alt.condition(alt.datum.limits == "fails", alt.value(0.35), alt.value(0.95))
    layers = [
        base.encode(y=alt.Y("low:Q"), y2="high:Q").mark_rule(strokeWidth=1.5, opacity=0.5),
        base.encode(y=y, shape=shape, tooltip=tips, opacity=opacity).mark_point(filled=True, size=110),
    ]
    limits = found[0].asked["limits"]
    if limit in limits:
        layers.append(
            alt.Chart(values([{"cost": limits[limit] * unit}]))
            .encode(x="cost:Q")
            .mark_rule(color=LIMIT, strokeDash=[5, 4], strokeWidth=1.5)
        )
    if "min_accuracy" in limits:
        layers.append(
            alt.Chart(values([{"accuracy": limits["min_accuracy"]}]))
            .encode(y="accuracy:Q")
            .mark_rule(color=LIMIT, strokeDash=[5, 4], strokeWidth=1.5)
        )
    title = f"Accuracy against {measure.name}"
    return figure(f"decision_{name}", "decision", title, layered(*layers))


def confusion_figure(shown: Candidate) -> Figure:
    """Share of each label's examples that is given each label, of all seeds."""
    import altair as alt

    labels = shown.asked["labels"]
    rows = []
    for i, right in enumerate(labels):
        counts = [sum(form["test"]["confusion"][i][j] for form in shown.forms) for j in range(len(labels))]
        for said, count in zip(labels, counts, strict=True):
            rows.append({"right": right, "said": said, "count": count, "share": count / max(1, sum(counts))})
    base = alt.Chart(values(rows)).encode(
        x=alt.X("said:N", sort=labels, title="said", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("right:N", sort=labels, title="right"),
    )
    scale = alt.Scale(scheme="blues", domain=[0, 1])
    colours = alt.Color("share:Q", scale=scale, legend=alt.Legend(title="share", format="%"))
    ink = alt.condition(alt.datum.share > 0.5, alt.value("white"), alt.value("black"))
    layers = [base.encode(color=colours).mark_rect(), base.encode(text="count:Q", color=ink).mark_text()]
    return figure(
        "decision_confusion", "errors", "What is said for each label", layered(*layers), 60 + 40 * len(labels)
    )
