"""Pictures of curves: the mean of each arm with its band, whole and enlarged, and what the page draws them from."""

from collections.abc import Sequence
from typing import Any

from smallgpt.reporting.axis_units import Measure
from smallgpt.reporting.charts import (
    PALETTE,
    Figure,
    colour,
    colour_of,
    dash_of,
    dashes,
    figure,
    layered,
    tooltip,
    values,
)
from smallgpt.reporting.curves import LOSS, MOST_RUNS, SPENT, TRAINING, ArmCurve, arm_curve, run_curve, spent_key
from smallgpt.reporting.jobs import ReportedJob
from smallgpt.reporting.ranking import others_last, shown_arms
from smallgpt.reporting.study import Comparison

MEASURES = {
    "tokens": Measure("training tokens"),
    "flops": Measure("training compute", "FLOP"),
    "seconds": Measure("training time", "s"),
}
TITLES = {
    LOSS: ("Validation loss", "validation loss ({unit})"),
    "train/loss": ("Training loss", "training loss ({unit})"),
    "train/lr": ("Learning rate", "learning rate"),
    "train/grad_norm": ("Gradient norm", "gradient norm"),
    "speed/tokens_per_second": ("Speed", "tokens a second"),
    "speed/mfu": ("Model FLOPs utilization", "share of the machine's peak"),
}
LATE = 0.5  # share of a training that the enlarged figure leaves out


def curve_figures(comparison: Comparison) -> list[Figure]:
    """The validation loss of the arms of the figures, whole and its late part."""
    key = spent_key(comparison)
    curves = [arm_curve(arm) for arm in shown_arms(comparison)]
    rows = [row for curve in curves for row in curve_rows(curve, key)]
    if not rows:
        return []
    unit = comparison.loss_unit
    found = [loss_figure("loss", f"Validation loss against {MEASURES[key].name}", rows, key, unit)]
    late = [row for row in rows if row["x"] >= LATE * max(each["x"] for each in rows)]
    if len({row["x"] for row in late}) > 1:
        found.append(loss_figure("loss_late", f"The late part: loss against {MEASURES[key].name}", late, key, unit))
    return found


def curve_rows(curve: ArmCurve, key: str) -> list[dict[str, Any]]:
    """Points of an arm as rows of a figure."""
    if key not in curve.loss or LOSS not in curve.loss:
        return []
    rows = zip(*[curve.loss[name] for name in (key, LOSS, "low", "high", "seeds")], strict=True)
    found = [dict(zip(("x", "loss", "low", "high", "seeds"), row, strict=True)) for row in rows]
    return [{"arm": curve.label, **row} for row in found if row["x"] is not None and row["loss"] is not None]


def loss_figure(name: str, title: str, rows: Sequence[dict[str, Any]], key: str, unit: str) -> Figure:
    """Mean lines with bands; the text gives where each ends."""
    from dataclasses import replace

    labels = list(dict.fromkeys(row["arm"] for row in rows))
    found = figure(name, "loss", title, curve_chart(rows, labels, MEASURES[key], TITLES[LOSS][1].format(unit=unit)))
    ends = {row["arm"]: row for row in rows}
    return replace(found, text="; ".join(f"{arm} ends at {row['loss']:.4f}" for arm, row in ends.items()))


def curve_chart(rows: Sequence[dict[str, Any]], labels: Sequence[str], measure: Measure, title: str) -> Any:
    """Chart of mean lines with bands. The page changes its axes, so x and y stand under these names in every layer."""
    import altair as alt

    spent = [row["x"] for row in rows]
    x = alt.X("x:Q", title=measure.title(spent), axis=measure.ticks(spent), scale=alt.Scale(nice=False))
    scale = alt.Scale(zero=False, nice=False, padding=8)
    shade = colour(labels, lines=True)  # one legend of all layers: where one has none, Vega-Lite draws none
    base = alt.Chart(values(rows)).encode(x=x)
    band = base.encode(y=alt.Y("low:Q", title=title, scale=scale), y2="high:Q", color=shade).mark_area(opacity=0.16)
    y = alt.Y("loss:Q", title=title, scale=scale)
    lines = base.encode(y=y, color=shade, strokeDash=dashes(labels)).mark_line(strokeWidth=2)
    tips = tooltip("arm", "x", "loss", "low", "high", "seeds")
    points = base.encode(y=y, color=shade, tooltip=tips).mark_circle(size=24, opacity=0.9)
    return layered(band, lines, points)


def interactive_curves(comparison: Comparison, others: Sequence[ReportedJob]) -> dict[str, Any] | None:
    """What the page draws the curves of a comparison from: every arm's, and every run's; None where there are none.

    Args:
        comparison: the arms.
        others: jobs of no arm, whose curves are shown run by run.
    """
    shown, unit = {arm.label for arm in shown_arms(comparison)}, comparison.loss_unit
    arms = others_last(comparison)
    single = sum(len(arm.jobs) for arm in arms) <= MOST_RUNS
    found: list[dict[str, Any]] = []
    for place, arm in enumerate(arms):
        runs = arm.jobs if single or arm.label in shown else []
        found.append(entry(arm.label, place, arm.label in shown, runs, arm_curve(arm)))
    groups: dict[str, list[ReportedJob]] = {}
    for job in [job for job in others if job.curve][:MOST_RUNS]:
        groups.setdefault(f"{job.variant} ({job.status})", []).append(job)
    for label, jobs in groups.items():
        found.append(entry(label, len(found), len(found) < len(PALETTE), jobs))
    if not any(each["loss"] or each["runs"] for each in found):
        return None
    return {
        "arms": found,
        "axis": spent_key(comparison),
        "axes": {key: axis_entry(key, found) for key in SPENT if any(key in columns(each) for each in found)},
        "panels": [
            panel(LOSS, unit),
            panel(LOSS, unit, late=True),
            *[panel(key, unit) for key in TRAINING if any(key in each["training"] for each in found)],
        ],
        "spec": template(),
    }


def panel(key: str, unit: str, late: bool = False) -> dict[str, Any]:
    """One chart of the page; gradient norms begin so high that only a logarithmic axis shows the others."""
    title, axis = TITLES[key]
    return {
        "key": key,
        "title": f"{title}, the late part" if late else title,
        "unit": axis.format(unit=unit),
        "late": late,
        "log": key == "train/grad_norm",
    }


def entry(
    label: str, place: int, shown: bool, runs: Sequence[ReportedJob], curve: ArmCurve | None = None
) -> dict[str, Any]:
    """What the page draws of an arm, or of jobs that make none."""
    return {
        "label": label,
        "colour": colour_of(place),
        "dash": dash_of(place),
        "shown": shown,
        "loss": curve.loss if curve else {},
        "training": curve.training if curve else {},
        "runs": [{"job": job.name, "seed": job.seed, "loss": run_curve(job)} for job in runs if job.curve],
    }


def columns(each: dict[str, Any]) -> set[str]:
    """Columns of an entry, of its mean or its runs."""
    return {*each["loss"], *each["training"], *[key for run in each["runs"] for key in run["loss"]]}


def axis_entry(key: str, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """An axis that the reader may choose: its name, and its title and ticks in the unit of its largest number."""
    numbers = [
        number
        for each in found
        for curve in (each["loss"], each["training"], *[run["loss"] for run in each["runs"]])
        for number in curve.get(key, ())
        if number is not None
    ]
    measure = MEASURES[key]
    return {"name": measure.name, "title": measure.title(numbers), "ticks": measure.ticks(numbers).to_dict()}


def template() -> dict[str, Any]:
    """The chart without its data, with the single runs, and with the page's own legend instead of Vega's."""
    import altair as alt

    chart = curve_chart([{"arm": "", "x": 1, "loss": 1}], [""], Measure("x"), "")
    runs = alt.Chart(alt.NamedData(name="runs")).encode(
        x="x:Q", y="loss:Q", color="arm:N", detail="job:N", tooltip=tooltip("arm", "job", "seed", "x", "loss")
    )
    spec = figure(
        "curve", "loss", "", chart + runs.mark_line(strokeWidth=1, opacity=0.5, point={"size": 10}), 300
    ).for_page
    spec["datasets"] = {}
    for layer in spec["layer"]:
        layer.setdefault("data", {"name": "mean"})
        layer["data"] = layer["data"] if layer["data"]["name"] == "runs" else {"name": "mean"}
        for channel in ("color", "strokeDash"):
            if channel in layer["encoding"]:
                layer["encoding"][channel]["legend"] = None
    return spec
