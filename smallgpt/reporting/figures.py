"""Pictures of a study: all that its results have numbers for, and the loss against what was spent."""

from collections.abc import Callable, Sequence
from typing import Any

from smallgpt.reporting.axis_figures import axes, tuned_axes
from smallgpt.reporting.axis_units import Measure
from smallgpt.reporting.charts import Figure, colour, dashes, figure, layered, missing, tooltip, values
from smallgpt.reporting.decision_figures import decision_figures
from smallgpt.reporting.diagrams import diagrams, parameter_bars
from smallgpt.reporting.evaluation_figures import evaluation_figures
from smallgpt.reporting.front_figures import front_figures
from smallgpt.reporting.inference_figures import inference_figures
from smallgpt.reporting.jobs import ReportedJob
from smallgpt.reporting.learning_curves import learning_curves
from smallgpt.reporting.quality_figures import pareto
from smallgpt.reporting.scaling_figures import scaling_figures
from smallgpt.reporting.study import Comparison

RUN_AXES = {
    "tokens": Measure("training tokens"),
    "flops": Measure("training compute", "FLOP"),
    "seconds": Measure("training time", "s"),
}


def draw(comparison: Comparison, others: Sequence[ReportedJob] = ()) -> list[Figure]:
    """Every figure that the results have numbers for.

    Args:
        comparison: the arms.
        others: jobs of no arm, whose curves are shown too.
    """
    makers: dict[str, tuple[str, Callable[[], list[Figure]]]] = {
        "decision": ("Accuracy against cost", lambda: decision_figures(comparison)),
        "loss": ("Loss over training", lambda: loss_curves(comparison, others)),
        "quality": ("Quality against cost", lambda: (front_figures if comparison.metrics else pareto)(comparison)),
        "axis": ("What the study varies", lambda: [*axes(comparison), *tuned_axes(comparison)]),
        "examples": ("What further examples are worth", lambda: learning_curves(comparison)),
        "scaling": ("Loss against training compute", lambda: scaling_figures(comparison)),
        "inference": ("Bits per byte against cost", lambda: inference_figures(comparison)),
        "evaluation": ("What the models know", lambda: evaluation_figures(comparison)),
        "parameters": ("Where the parameters sit", lambda: parameter_bars(comparison)),
        "diagrams": ("Block by block", lambda: diagrams(comparison)),
    }
    figures = []
    for part, (title, make) in makers.items():
        try:
            figures += make()
        except Exception as error:  # the other figures are no worse for it
            figures.append(missing(part, part, title, error))
    return figures


def loss_curves(comparison: Comparison, others: Sequence[ReportedJob]) -> list[Figure]:
    """Validation loss of every run against what it has taken."""
    import altair as alt

    runs = [(arm.label, job) for arm in comparison.arms for job in arm.jobs]
    runs += [(f"{job.variant} ({job.status})", job) for job in others]
    rows: list[dict[str, Any]] = [
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
    for key, measure in RUN_AXES.items():
        spent = [row[key] for row in rows if row[key] is not None]
        base = alt.Chart(values(rows)).encode(
            x=alt.X(f"{key}:Q", title=measure.title(spent), axis=measure.ticks(spent)),
            y=alt.Y("loss:Q", title="validation loss (nats a token)", scale=alt.Scale(zero=False)),
            color=colour(labels),
            detail="job:N",
            opacity=alt.condition(chosen, alt.value(0.9), alt.value(0.06)),
        )
        # equal runs lie on each other; the dashes show both
        lines = base.encode(strokeDash=dashes(labels)).mark_line(strokeWidth=1.8)
        points = base.encode(tooltip=tooltip("arm", "job", "seed", key, "loss")).mark_circle(size=36)
        chart = layered(lines, points).add_params(chosen, zoom)
        figures.append(figure(f"loss_{key}", "loss", f"Validation loss against {measure.name}", chart))
    return figures
