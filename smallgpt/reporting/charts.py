"""What every figure is made of: its Vega-Lite spec, its files, and the look of its axes, colours and tooltips."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallgpt.errors import one_line
from smallgpt.files import write_bytes
from smallgpt.results import plain_json

if TYPE_CHECKING:
    import altair as alt

WIDTH, HEIGHT = 640, 340
LONG_LABEL = 36  # letters
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])


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

    @property
    def for_page(self) -> dict[str, Any]:
        """Spec as wide as there is room for; the page has the title and the colours around."""
        kept = {key: value for key, value in self.spec.items() if key not in ("title", "background")}
        return kept | {"width": "container"}


def save(figure: Figure, folder: Path) -> str | None:
    """NAME.png and NAME.svg; returns why it cannot be drawn."""
    import vl_convert

    folder.mkdir(exist_ok=True)
    try:
        svg = vl_convert.vegalite_to_svg(figure.spec, vl_version=vl_version())
        png = vl_convert.svg_to_png(svg, scale=2)
    except ValueError as error:
        return one_line(error)[:300]
    write_bytes(folder / f"{figure.name}.svg", svg.encode())
    write_bytes(folder / f"{figure.name}.png", png)
    return None


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
    return Figure(name, part, title, plain_json(spec))


def missing(name: str, part: str, title: str, error: Exception) -> Figure:
    """Stands for a figure that cannot be drawn."""
    return Figure(name, part, title, {}, f"{type(error).__name__}: {one_line(error)[:300]}")


def values(rows: Sequence[dict[str, Any]]) -> "alt.InlineData":
    """Rows as data inside a spec."""
    import altair as alt

    return alt.InlineData(values=list(rows))


def colour(labels: Sequence[str], field: str = "arm") -> "alt.Color":
    """Colours of labels, the same in all figures with the same labels."""
    import altair as alt

    scheme = "tableau10" if len(labels) <= 10 else "tableau20"
    return alt.Color(f"{field}:N", scale=alt.Scale(domain=list(labels), scheme=scheme), legend=legend(labels))


def dashes(labels: Sequence[str]) -> "alt.StrokeDash":
    """Dashes of labels, so that lines which lie on each other are seen."""
    import altair as alt

    styles = [DASHES[i % len(DASHES)] for i in range(len(labels))]
    return alt.StrokeDash("arm:N", scale=alt.Scale(domain=list(labels), range=styles), legend=legend(labels))


def legend(labels: Sequence[str]) -> "alt.Legend":
    """Legend below a figure, in as many columns as the labels leave room for."""
    import altair as alt

    columns = 1 if max(map(len, labels)) > 20 else 2 if max(map(len, labels)) > 12 else 3
    # a long label has a line for each word: a phone has room for no more
    lines = f"length(datum.label) > {LONG_LABEL} ? split(datum.label, ' ') : datum.label"
    return alt.Legend(title=None, orient="bottom", columns=columns, labelLimit=300, labelExpr=lines, symbolOpacity=1)


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
