"""Figures as a paper takes them: one column wide, without a title, as SVG, PDF and PNG of 300 dots an inch."""

import copy
import re
from pathlib import Path
from typing import Any

from smallgpt.errors import one_line
from smallgpt.files import write_bytes
from smallgpt.reporting.charts import HEIGHT, Figure, vl_version

COLUMN = 234  # points: 3.25 inches, a column of most papers
DOTS = 300  # an inch
SMALLER = 0.55  # marks and heights of a paper, over those of the page
FONT = "Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif"
VIEW = {"stroke": "#cccccc"}
LOOK = {
    "font": FONT,
    "background": "white",
    "axis": {
        "labelFontSize": 7,
        "titleFontSize": 8,
        "titleFontWeight": "normal",
        "gridColor": "#eeeeee",
        "titlePadding": 4,
    },
    "legend": {"labelFontSize": 7, "rowPadding": 1, "columnPadding": 8, "offset": 4},
}


def save(figure: Figure, folder: Path) -> str | None:
    """Writes NAME.svg, NAME.pdf and NAME.png; returns why it cannot be drawn."""
    import vl_convert

    folder.mkdir(exist_ok=True)
    try:
        svg = vl_convert.vegalite_to_svg(paper_spec(figure), vl_version=vl_version())
        # a length without a unit is a point of the PDF, but a pixel of a browser, which is smaller
        in_points = re.sub(r'width="(\d+)" height="(\d+)"', r'width="\1pt" height="\2pt"', svg, count=1)
        files = {
            "svg": in_points.encode(),
            "pdf": vl_convert.svg_to_pdf(svg),
            "png": vl_convert.svg_to_png(svg, ppi=DOTS),
        }
    except ValueError as error:
        return one_line(error)[:300]
    for ending, content in files.items():
        write_bytes(folder / f"{figure.name}.{ending}", content)
    return None


def save_picture(figure: Figure, path: Path) -> None:
    """Writes a figure with its title as a PNG for a README or a chat, as wide as a page."""
    import vl_convert

    write_bytes(path, vl_convert.vegalite_to_png(figure.spec, vl_version=vl_version(), scale=2))


def paper_spec(figure: Figure) -> dict[str, Any]:
    """Spec of a figure without its title, in the width and the letters of a column."""
    spec = copy.deepcopy({key: value for key, value in figure.spec.items() if key != "title"})
    by_rows = spec["height"] != HEIGHT  # as high as it has rows, with letters between them
    config = {**spec.get("config", {}), **LOOK}
    config["view"] = {**VIEW, **spec.get("config", {}).get("view", {})}
    spec |= {"width": COLUMN, "autosize": {"type": "fit-x", "contains": "padding"}, "padding": 2, "config": config}
    spec["height"] = spec["height"] if by_rows else round(HEIGHT * SMALLER * 0.8)
    for layer in spec.get("layer", [spec]):
        mark = layer["mark"] = dict(layer["mark"]) if isinstance(layer["mark"], dict) else {"type": layer["mark"]}
        for size in ("size", "strokeWidth", "thickness"):
            if size in mark and mark["type"] != "tick":
                mark[size] *= SMALLER
        if mark["type"] == "text":
            mark["fontSize"] = 7
        for channel in layer.get("encoding", {}).values():
            shrink_legend(channel)
    return spec


def shrink_legend(channel: Any) -> None:
    """Makes a legend fit under a column: symbols and words smaller, one entry beside the other while they are short."""
    found = channel.get("legend") if isinstance(channel, dict) else None
    if not found:
        return
    longest = max((len(str(name)) for name in found.get("values", [])), default=0)
    found |= {"columns": 1 if longest > 26 else 2 if longest > 12 else 3, "labelLimit": COLUMN - 30}
    found["symbolSize"] = 200 if found.get("symbolType") == "stroke" else 30
    found["symbolStrokeWidth"] = 1.2
