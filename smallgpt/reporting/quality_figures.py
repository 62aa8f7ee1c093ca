"""Pictures of quality against cost: a point an arm, and the Pareto front."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from smallgpt.reporting.axis_units import Measure
from smallgpt.reporting.charts import Figure, colour, figure, layered, legend, tooltip, values
from smallgpt.reporting.inferences import INFERENCE_AXES
from smallgpt.reporting.ranking import others_last
from smallgpt.reporting.statistics import SPLITS, difference, mean, undominated
from smallgpt.reporting.study import Comparison

if TYPE_CHECKING:
    import altair as alt

COST_AXES = {  # what a job's result may have, and how a figure calls it
    ("cost", "parameters"): Measure("parameters"),
    ("train", "flops"): Measure("training compute", "FLOP"),
    ("cost", "inference_flops_per_token"): Measure("inference compute a token", "FLOP"),
    ("cost", "cache_bytes_per_token"): Measure("cache a token", "B"),
    ("latency", "times_baseline"): Measure("time a token, over the baseline's"),
    **{("inference", key): measure for key, measure in INFERENCE_AXES.items()},
}


def loss_title(comparison: Comparison) -> str:
    """Title of an axis of losses."""
    return f"{SPLITS[comparison.split]} loss ({comparison.loss_unit})"


def pareto(comparison: Comparison) -> list[Figure]:
    """Loss against each cost, with the arms that no other beats in both."""
    import altair as alt

    figures = []
    losses = {arm.label: comparison.losses(arm) for arm in others_last(comparison)}
    labels = list(losses)

    def is_better(row: dict[str, Any], other: dict[str, Any]) -> bool:
        """Whether its gain is more than its interval, over the seeds that both have; of one seed nothing is known."""
        gap = difference(losses[row["arm"]], losses[other["arm"]])
        return gap.value < 0 and (gap.high is None or gap.high < 0)

    for (section, key), measure in COST_AXES.items():
        rows: list[dict[str, Any]] = []
        for arm in comparison.arms:
            cost = arm.cost(section, key)
            if cost is not None and (scores := list(comparison.losses(arm).values())):
                rows.append({"arm": arm.label, "cost": cost, "cost text": measure.text(cost), **interval(scores)})
        if len({row["cost"] for row in rows}) < 2:
            continue
        x = measure.x("cost", [row["cost"] for row in rows])
        y = alt.Y("loss:Q", title=loss_title(comparison), scale=alt.Scale(zero=False))
        front = alt.Chart(values(undominated(rows, is_better))).encode(x=x, y=y)
        line = front.mark_line(interpolate="step-after", color="#888", strokeDash=[4, 3], strokeWidth=1.5)
        layers = [line, *with_intervals(rows, x, y, labels)]
        name = f"quality_{'latency' if key == 'seconds_per_token' else key}"
        figures.append(figure(name, "quality", f"Loss against {measure.name}", layered(*layers)))
    return figures


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
    """Mean of scores with its 95 % interval and number, as rows of figures have them."""
    score = mean(scores)
    half = score.half_width or 0.0
    return {"loss": score.value, "low": score.value - half, "high": score.value + half, "seeds": score.n}
