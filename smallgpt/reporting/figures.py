"""Pictures of a study. A Vega-Lite spec gives the page's interactive figure and, without a browser, PNG and SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallgpt.reporting.arms import Arm, Comparison, Job, differences
from smallgpt.reporting.statistics import mean
from smallgpt.run_directory import write_bytes

if TYPE_CHECKING:
    import altair as alt

WIDTH, HEIGHT = 640, 340
ROW = 20  # height of a part in a diagram
LONG_LABEL = 36  # letters
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
LOSS = "validation loss (nats a token)"
RUN_AXES = {"tokens": "training tokens", "flops": "training FLOPs", "seconds": "seconds of training"}
COST_AXES = {  # what a job's result may have, and how a figure calls it
    ("cost", "parameters"): "parameters",
    ("train", "flops"): "training FLOPs",
    ("cost", "inference_flops_per_token"): "inference FLOPs a token",
    ("cost", "cache_bytes_per_token"): "cache bytes a token",
    ("inference", "seconds_per_token"): "seconds a generated token",
}


@dataclass(frozen=True)
class Figure:
    name: str
    """Of its files."""
    part: str
    """Of the page, where it is shown."""
    title: str
    spec: dict[str, Any]

    @property
    def for_page(self) -> dict[str, Any]:
        """As wide as there is room for; the page has the title and the colours around."""
        kept = {key: value for key, value in self.spec.items() if key not in ("title", "background")}
        return kept | {"width": "container"}


def draw(comparison: Comparison, others: Sequence[Job] = ()) -> list[Figure]:
    """Every figure that the results have numbers for.

    Args:
        comparison: the arms.
        others: jobs of no arm, whose curves are shown too.
    """
    figures = [*loss_curves(comparison, others), *pareto(comparison), *axes(comparison)]
    figures += parameter_bars(comparison)
    return figures + diagrams(comparison)


def save(figure: Figure, folder: Path) -> None:
    """NAME.png and NAME.svg."""
    import vl_convert

    folder.mkdir(exist_ok=True)
    version = vl_version()
    svg = vl_convert.vegalite_to_svg(figure.spec, vl_version=version)
    write_bytes(folder / f"{figure.name}.svg", svg.encode())
    write_bytes(folder / f"{figure.name}.png", vl_convert.svg_to_png(svg, scale=2))


def vl_version() -> str:
    """Of the Vega-Lite that altair writes for."""
    import altair as alt

    return ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def training_flops(job: Job) -> float | None:
    each, tokens = job.section("cost").get("training_flops_per_token"), job.section("train").get("tokens")
    return each * tokens if each and tokens else job.section("cost").get("training_flops")


def value_of(arm: Arm, section: str, key: str) -> float | None:
    if (section, key) == ("train", "flops"):
        return training_flops(arm.jobs[0])
    return arm.number(section, key)


# -- the figures -------------------------------------------------------------------------------------------------------


def loss_curves(comparison: Comparison, others: Sequence[Job]) -> list[Figure]:
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
        name = f"quality_{'latency' if section == 'inference' else key}"
        figures.append(figure(name, "quality", f"Loss against {title}", alt.layer(*layers)))
    return figures


def undominated(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The Pareto front: rows for which no other has less cost and less loss, in the order of cost."""
    front: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: (row["cost"], row["loss"])):
        if not front or row["loss"] < front[-1]["loss"]:
            front.append(row)
    return front


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


def parameter_bars(comparison: Comparison) -> list[Figure]:
    import altair as alt

    rows = [
        {"arm": arm.label, "group": name, "parameters": count, "order": place}
        for arm in comparison.arms
        for place, (name, count) in enumerate((arm.jobs[0].section("cost").get("parameters_by_group") or {}).items())
    ]
    if not rows:
        return []
    groups = list(dict.fromkeys(row["group"] for row in rows))
    # each label above its bar: beside it there is no room on a phone
    above = alt.Axis(labelAlign="left", labelPadding=-4, labelOffset=-18, labelLimit=400, ticks=False, domain=False)
    chart = (
        alt.Chart(values(rows))
        .encode(
            x=alt.X("sum(parameters):Q", title="parameters", axis=alt.Axis(format="~s", tickCount=6)),
            y=alt.Y("arm:N", title=None, sort=None, scale=alt.Scale(paddingInner=0.5, paddingOuter=0.4), axis=above),
            color=colour(groups, "group"),
            order=alt.Order("order:Q"),
            tooltip=tooltip("arm", "group", "parameters"),
        )
        .mark_bar()
    )
    height = 44 * len(comparison.arms)
    return [figure("parameters", "parameters", "Where the parameters sit", chart, height)]


def diagrams(comparison: Comparison) -> list[Figure]:
    """The parts of each variant in the order the data takes, each as wide as the stream is there."""
    import altair as alt

    drawn: dict[str, tuple[list[dict[str, Any]], list[str]]] = {}
    for arm in comparison.arms:
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
        chart = alt.layer(bars, texts).configure_view(stroke=None)
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
    """Of the side of a part that is no vocabulary."""
    return part["in_width"] if part["label"].endswith("output head") else part["out_width"]


def words(part: dict[str, Any], lanes: int) -> str:
    label = part["label"]
    if part.get("path") is not None:
        own = f"path {part['path']} "
        label = f"{lanes} x {label.removeprefix(own)}"
    if part["n_head"]:
        return f"{label}: {part['in_width']}, {part['n_head']} x {part['head_width']}, MLP {part['mlp_width']}"
    if part["in_width"] in (1, part["out_width"]):
        return f"{label}: {part['out_width']}"
    return f"{label}: {part['in_width']} → {part['out_width']}"


# -- what they share ---------------------------------------------------------------------------------------------------


def figure(name: str, part: str, title: str, chart: "alt.LayerChart | alt.Chart", height: int = HEIGHT) -> Figure:
    import altair as alt

    alt.data_transformers.disable_max_rows()
    spec = chart.properties(width=WIDTH, height=height, title=title, background="white").to_dict()
    return Figure(name, part, title, spec)


def values(rows: Sequence[dict[str, Any]]) -> "alt.InlineData":
    import altair as alt

    return alt.InlineData(values=list(rows))


def colour(labels: Sequence[str], field: str = "arm") -> "alt.Color":
    import altair as alt

    scheme = "tableau10" if len(labels) <= 10 else "tableau20"
    return alt.Color(f"{field}:N", scale=alt.Scale(domain=list(labels), scheme=scheme), legend=legend(labels))


def dashes(labels: Sequence[str]) -> "alt.StrokeDash":
    import altair as alt

    styles = [DASHES[i % len(DASHES)] for i in range(len(labels))]
    return alt.StrokeDash("arm:N", scale=alt.Scale(domain=list(labels), range=styles), legend=legend(labels))


def legend(labels: Sequence[str]) -> "alt.Legend":
    import altair as alt

    columns = 1 if max(map(len, labels)) > 20 else 2 if max(map(len, labels)) > 12 else 3
    # a long label has a line for each word: a phone has room for no more
    lines = f"length(datum.label) > {LONG_LABEL} ? split(datum.label, ' ') : datum.label"
    return alt.Legend(title=None, orient="bottom", columns=columns, labelLimit=300, labelExpr=lines, symbolOpacity=1)


def axis(field: str, title: str, numbers: Sequence[float]) -> "alt.X":
    """Logarithmic where the numbers span more than a decade."""
    import altair as alt

    wide = min(numbers) > 0 and max(numbers) > 10 * min(numbers)
    scale = alt.Scale(type="log", padding=16) if wide else alt.Scale(zero=False, padding=16)
    return alt.X(f"{field}:Q", title=title, scale=scale, axis=alt.Axis(format="~s", tickCount=5))


def interval(scores: Sequence[float]) -> dict[str, float | int]:
    score = mean(scores)
    half = score.half_width or 0.0
    return {"loss": score.value, "low": score.value - half, "high": score.value + half, "seeds": score.n}


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


def tooltip(*fields: str) -> list["alt.Tooltip"]:
    import altair as alt

    numbers = {"loss": ".4f", "low": ".4f", "high": ".4f", "tokens": ",", "flops": ".3s", "seconds": ",.1f"}
    numbers |= {"parameters": ",", "cost": ".4s", "seed": "d", "seeds": "d"}
    texts = {"arm", "job", "group", "part", "value"}
    return [
        alt.Tooltip(field, type="nominal")
        if field in texts or field not in numbers
        else alt.Tooltip(field, type="quantitative", format=numbers[field])
        for field in fields
    ]


def number_or_text(text: str | None) -> float | str | None:
    try:
        number = None if text is None else float(text)
    except ValueError:
        return text
    return int(number) if number is not None and number.is_integer() else number
