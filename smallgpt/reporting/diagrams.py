"""Pictures of the models themselves: where the parameters sit, and each variant block by block."""

from collections.abc import Sequence
from typing import Any

from smallgpt.reporting.axis_units import Measure
from smallgpt.reporting.charts import Figure, colour, figure, layered, tooltip, values
from smallgpt.reporting.ranking import shown_arms
from smallgpt.reporting.study import Comparison

ROW = 20  # height of a part in a diagram


def parameter_bars(comparison: Comparison) -> list[Figure]:
    """Figure of where the parameters of each arm sit, a bar an arm."""
    import altair as alt

    arms = shown_arms(comparison)
    rows: list[dict[str, Any]] = [
        {"arm": arm.label, "group": name, "parameters": count, "order": place}
        for arm in arms
        for place, (name, count) in enumerate((arm.jobs[0].section("cost").get("parameters_by_group") or {}).items())
    ]
    if not rows:
        return []
    groups = list(dict.fromkeys(row["group"] for row in rows))
    measure, totals = Measure("parameters"), [arm.number("cost", "parameters") or 0 for arm in arms]
    # each label above its bar: beside it there is no room on a phone
    above = alt.Axis(labelAlign="left", labelPadding=-4, labelOffset=-18, labelLimit=400, ticks=False, domain=False)
    chart = (
        alt.Chart(values(rows))
        .encode(
            x=alt.X("sum(parameters):Q", title=measure.title(totals), axis=measure.ticks(totals)),
            y=alt.Y("arm:N", title=None, sort=None, scale=alt.Scale(paddingInner=0.5, paddingOuter=0.4), axis=above),
            color=colour(groups, "group"),
            order=alt.Order("order:Q"),
            tooltip=tooltip("arm", "group", "parameters"),
        )
        .mark_bar()
    )
    height = 44 * len(arms)
    return [figure("parameters", "parameters", "Where the parameters sit", chart, height)]


def diagrams(comparison: Comparison) -> list[Figure]:
    """The parts of each variant in the order the data takes, each as wide as the stream is there."""
    import altair as alt

    drawn: dict[str, tuple[list[dict[str, Any]], list[str]]] = {}
    for arm in shown_arms(comparison):
        if arm.layout:
            drawn.setdefault(str(arm.layout), (parts(arm.layout), []))[1].append(arm.label)
    if not drawn:
        return []
    figures = []
    widest = max(abs(row["right"]) for rows, _ in drawn.values() for row in rows)
    groups = list(dict.fromkeys(row["group"] for rows, _ in drawn.values() for row in rows))
    x = alt.X("left:Q", axis=None, scale=alt.Scale(domain=[-widest, 3.6 * widest], nice=False))
    for number, (rows, labels) in enumerate(drawn.values()):
        height = ROW * (1 + max(row["row"] for row in rows))
        y = alt.Y("row:O", axis=None, scale=alt.Scale(paddingInner=0.25, paddingOuter=0.1))
        base = alt.Chart(values(rows))
        bars = base.encode(
            x=x,
            x2="right:Q",
            y=y,
            color=colour(groups, "group"),
            tooltip=tooltip("part", "in", "out", "heads", "head width", "MLP width", "parameters"),
        ).mark_bar(cornerRadius=2)
        texts = base.encode(x="words at:Q", y=y, text="words:N").mark_text(align="left", fontSize=11)
        chart = layered(bars, texts).configure_view(stroke=None)
        more = f" and {len(labels) - 2} more" if len(labels) > 2 else ""
        figures.append(figure(f"diagram_{number}", "diagrams", ", ".join(labels[:2]) + more, chart, height))
    return figures


def parts(layout: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Left and right edge and row of each part; paths stand side by side."""
    lanes = sorted({part["path"] for part in layout if part.get("path") is not None})
    step = 1.2 * max((stream_width(part) for part in layout if part.get("path") is not None), default=0)
    edge = max(len(lanes) * step, max(stream_width(part) for part in layout)) / 2
    rows, begin = [], 0
    below = dict.fromkeys(lanes, 0)  # next row of each path
    for part in layout:
        path, width, middle, first = part.get("path"), stream_width(part), 0.0, True
        if path is None:
            row = begin = max([begin, *below.values()])
            begin += 1
            below = dict.fromkeys(lanes, begin)
        else:
            row, first = below[path], path == lanes[0]
            below[path] += 1
            middle = (lanes.index(path) - (len(lanes) - 1) / 2) * step
        rows.append(
            {
                "part": part["label"],
                "group": part["group"],
                "left": middle - width / 2,
                "right": middle + width / 2,
                "row": row,
                "words": words(part, len(lanes)) if first else "",
                "words at": 1.15 * edge,
                "in": part["in_width"],
                "out": part["out_width"],
                "heads": part["n_head"],
                "head width": part["head_width"],
                "MLP width": part["mlp_width"],
                "parameters": part["parameters"],
            }
        )
    return rows


def stream_width(part: dict[str, Any]) -> int:
    """Width of a part on the side that is no vocabulary."""
    return part["in_width"] if part["label"].endswith("output head") else part["out_width"]


def words(part: dict[str, Any], lanes: int) -> str:
    """Text beside a part of a diagram."""
    label = part["label"]
    if part.get("path") is not None:
        own = f"path {part['path']} "
        label = f"{lanes} x {label.removeprefix(own)}"
    if part["n_head"]:
        return f"{label}: {part['in_width']}, {part['n_head']} x {part['head_width']}, MLP {part['mlp_width']}"
    if part["in_width"] in (1, part["out_width"]):
        return f"{label}: {part['out_width']}"
    return f"{label}: {part['in_width']} → {part['out_width']}"
