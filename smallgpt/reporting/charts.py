"""What every figure is made of: its Vega-Lite spec, its files, and the look of its axes, colours and tooltips."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smallgpt.errors import one_line
from smallgpt.results import plain_json

if TYPE_CHECKING:
    import altair as alt

WIDTH, HEIGHT = 640, 340
LONG_LABEL = 36  # letters
PALETTE = ("#4c78a8", "#e8751a", "#d64550", "#3a9d95", "#4f9a45", "#c79a00", "#9d5fa8", "#e0708f", "#8a5f45", "#17a3c9")
FOLDED = "#a3acb6"
"""Colour of what is in a figure, but not in its legend."""
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
MOST_ROWS_OF_TEXT = 40


@dataclass(frozen=True)
class Figure:
    """Figure of a report: its Vega-Lite spec, or why it cannot be drawn."""

    name: str
    """Name of its files."""
    part: str
    """Part of the page where it is shown."""
    title: str
    spec: dict[str, Any]
    error: str | None = None
    """Why it cannot be drawn, which then stands in its place."""
    text: str = ""
    """What it shows, for who does not see it."""

    @property
    def for_page(self) -> dict[str, Any]:
        """Spec as wide as there is room for; the page has the title and the colours around."""
        kept = {key: value for key, value in self.spec.items() if key not in ("title", "background")}
        return kept | {"width": "container"}


def vl_version() -> str:
    """Version of the Vega-Lite that altair writes for."""
    import altair as alt

    return ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def layered(*charts: Any) -> Any:
    """Charts drawn over each other; altair's own types know no marked chart."""
    import altair as alt

    return alt.layer(*charts)


def figure(name: str, part: str, title: str, chart: Any, height: int = HEIGHT) -> Figure:
    """Figure of a chart; one that altair refuses says why instead."""
    import altair as alt

    alt.data_transformers.disable_max_rows()
    try:
        spec = chart.properties(width=WIDTH, height=height, title=title, background="white").to_dict()
    except Exception as error:  # the others are no worse for it
        return missing(name, part, title, error)
    spec = plain_json(spec)
    return Figure(name, part, title, spec, text=text_of(spec))


def text_of(spec: dict[str, Any]) -> str:
    """What the tooltips of a figure say, one after the other."""
    found = []
    for layer in spec.get("layer", [spec]):
        fields = {tip["title"]: tip["field"] for tip in tips(layer)}
        rows = spec.get("datasets", {}).get((layer.get("data") or spec.get("data") or {}).get("name"), [])
        for row in rows if fields else ():
            said = {name: row[field] for name, field in fields.items() if row.get(field) is not None}
            texts = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in said.items()}
            found.append(", ".join(f"{name} {text}" for name, text in texts.items()))
    more = f"; and {len(found) - MOST_ROWS_OF_TEXT} more" if len(found) > MOST_ROWS_OF_TEXT else ""
    return "; ".join(found[:MOST_ROWS_OF_TEXT]) + more


def tips(layer: dict[str, Any]) -> list[dict[str, Any]]:
    """Fields of a layer's tooltip."""
    found = layer.get("encoding", {}).get("tooltip", [])
    return [tip | {"title": tip.get("title", tip["field"])} for tip in found]


def missing(name: str, part: str, title: str, error: Exception) -> Figure:
    """Stands for a figure that cannot be drawn."""
    return Figure(name, part, title, {}, f"{type(error).__name__}: {one_line(error)[:300]}")


def values(rows: Sequence[dict[str, Any]]) -> "alt.InlineData":
    """Rows as data inside a spec."""
    import altair as alt

    return alt.InlineData(values=list(rows))


def colour(labels: Sequence[str], field: str = "arm", lines: bool = False) -> "alt.Color":
    """Colours of labels, the same in all figures with the same labels; those after the tenth are grey."""
    import altair as alt

    colours = [colour_of(i) if i < len(PALETTE) else FOLDED for i in range(len(labels))]
    scale = alt.Scale(domain=list(labels), range=colours)
    return alt.Color(f"{field}:N", scale=scale, legend=legend(labels, lines))


def colour_of(place: int) -> str:
    """Colour of a place among the labels; with the dashes, twenty places can be told apart."""
    return PALETTE[place % len(PALETTE)]


def dashes(labels: Sequence[str]) -> "alt.StrokeDash":
    """Dashes of labels, so that lines which lie on each other are seen."""
    import altair as alt

    styles = [dash_of(i) for i in range(len(labels))]
    scale = alt.Scale(domain=list(labels), range=styles)
    return alt.StrokeDash("arm:N", scale=scale, legend=legend(labels, lines=True))


def dash_of(place: int) -> list[int]:
    """Dashes of a place among the labels."""
    return DASHES[place % len(DASHES)]


def legend(labels: Sequence[str], lines: bool = False) -> "alt.Legend":
    """Legend below a figure, in as many columns as the labels leave room for, of the first ten.

    Args:
        labels: all that the figure has.
        lines: whether it shows strokes with their dashes, not points.
    """
    import altair as alt

    named = list(labels[: len(PALETTE)])
    longest = max(map(len, named), default=0)
    columns = 1 if longest > 20 else 2 if longest > 12 else 3
    # a long label has a line for each word: a phone has room for no more
    split = f"length(datum.label) > {LONG_LABEL} ? split(datum.label, ' ') : datum.label"
    strokes: dict[str, Any] = {"symbolType": "stroke", "symbolSize": 500, "symbolStrokeWidth": 2} if lines else {}
    return alt.Legend(
        title=None,
        orient="bottom",
        columns=columns,
        labelLimit=300,
        labelExpr=split,
        symbolOpacity=1,
        values=named,
        **strokes,
    )


def tooltip(*fields: str) -> list["alt.Tooltip"]:
    """Tooltip with these fields of a row, each in its own format."""
    import altair as alt

    numbers = {"loss": ".4f", "low": ".4f", "high": ".4f", "tokens": ",", "flops": ".3s", "seconds": ",.1f"}
    numbers |= {"parameters": ",", "seed": "d", "seeds": "d"}
    numbers |= {"accuracy": ".4f", "bits per byte": ".4f", "chance": ".4f"}
    shown = {"cost": "cost text"}  # with its unit
    return [
        alt.Tooltip(field, type="quantitative", format=numbers[field])
        if field in numbers
        else alt.Tooltip(shown.get(field, field), type="nominal", title=field)
        for field in fields
    ]
