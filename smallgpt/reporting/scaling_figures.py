"""Picture of scaling: the loss of each arm at each of its sizes against training compute, and the fitted curves."""

from typing import Any

from smallgpt.reporting.charts import Figure, colour, figure, layered, values
from smallgpt.reporting.quality_figures import COST_AXES, interval, loss_title, with_intervals
from smallgpt.reporting.scaling import fit_curves, scaling_series
from smallgpt.reporting.study import Comparison

STEPS = 40  # of a drawn curve


def scaling_figures(comparison: Comparison) -> list[Figure]:
    """Loss against compute, one line an arm; none where no arm has three sizes. A curve ends where its sizes do."""
    import altair as alt
    import numpy as np

    series, measure = scaling_series(comparison), COST_AXES["train", "flops"]
    if not series:
        return []
    curves = fit_curves(series, draws=0)
    points: list[dict[str, Any]] = []
    lines: list[dict[str, Any]] = []
    for each in series:
        for size in each.sizes:
            spent = {"arm": each.label, "cost": size.compute, "cost text": measure.text(size.compute)}
            points.append(spent | interval(list(size.losses.values())))
        if curve := curves.get(each.label):
            computes = np.geomspace(each.sizes[0].compute, each.sizes[-1].compute, STEPS).tolist()
            lines += [{"arm": each.label, "cost": spent, "loss": curve.loss(spent)} for spent in computes]
    labels = [each.label for each in series]
    costs = [row["cost"] for row in points]
    x = alt.X("cost:Q", title=measure.title(costs), scale=alt.Scale(type="log", padding=16), axis=measure.ticks(costs))
    y = alt.Y("loss:Q", title=loss_title(comparison), scale=alt.Scale(zero=False))
    line = alt.Chart(values(lines)).encode(x=x, y=y, color=colour(labels)).mark_line(strokeWidth=1.5, opacity=0.7)
    chart = layered(line, *with_intervals(points, x, y, labels))
    return [figure("scaling", "scaling", "Loss against training compute, with the fitted curves", chart)]
