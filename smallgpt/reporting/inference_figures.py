"""Pictures of what quantization costs: bits per byte against latency and memory, a point an arm and kind."""

from typing import Any

from smallgpt.reporting.charts import Figure, colour, figure, layered, legend, tooltip, values
from smallgpt.reporting.inferences import INFERENCE_AXES, common_text, measured_arms
from smallgpt.reporting.ranking import others_last
from smallgpt.reporting.statistics import undominated
from smallgpt.reporting.study import Comparison

TRIANGLES = [f"triangle-{way}" for way in ("up", "down", "left", "right")]
BAR = "M-1,-.4H1V.4H-1Z"
SHAPES = ["circle", "square", "diamond", "cross", *TRIANGLES, BAR, "wedge", "arrow"]  # one a kind of weights


def inference_figures(comparison: Comparison) -> list[Figure]:
    """Only what was measured on one text stands in a figure."""
    import altair as alt

    everything = measured_arms(comparison)
    text = common_text(everything)
    figures = []
    for key, measure in INFERENCE_AXES.items():
        rows: list[dict[str, Any]] = []
        for each in everything:
            cost, bits = each.number(key), each.bits(text)
            if cost is not None and bits is not None:
                row = {"arm": each.arm.label, "weights": each.kind, "cost": cost, "cost text": measure.text(cost)}
                row["bits per byte"] = bits.value
                rows.append(row | {"low": bits.low, "high": bits.high, "seeds": bits.seeds})
        if text is None or len({row["cost"] for row in rows}) < 2:
            continue
        measured = {row["arm"] for row in rows}
        labels = [arm.label for arm in others_last(comparison) if arm.label in measured]
        kinds = list(dict.fromkeys(row["weights"] for row in rows))
        x = measure.x("cost", [row["cost"] for row in rows])
        y = alt.Y("bits per byte:Q", title=f"bits per byte of {text.name}", scale=alt.Scale(zero=False))
        front = alt.Chart(values(undominated(rows, is_better, "bits per byte"))).encode(x=x, y=y)
        base = alt.Chart(values(rows)).encode(x=x, color=colour(labels))
        shape = alt.Shape("weights:N", scale=alt.Scale(domain=kinds, range=SHAPES), legend=legend(kinds))
        tips = tooltip("arm", "weights", "cost", "bits per byte", "low", "high", "seeds")
        layers = [
            front.mark_line(interpolate="step-after", color="#888", strokeDash=[4, 3], strokeWidth=1.5),
            base.encode(y="low:Q", y2="high:Q").mark_rule(strokeWidth=1.5, opacity=0.5),
            base.encode(y=y, shape=shape, tooltip=tips).mark_point(filled=True, size=90, opacity=0.85),
        ]
        name = f"bits_{'latency' if key == 'seconds_per_token' else key}"
        figures.append(figure(name, "inference", f"Bits per byte against {measure.name}", layered(*layers)))
    return figures


def is_better(row: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether its gain is more than its interval, where it has one."""
    highest = row["bits per byte"] if row["high"] is None else row["high"]
    return highest < other["bits per byte"]
