"""Preview of a W&B dashboard as one HTML page: its panels, drawn from the runs that W&B has or will be sent."""

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from smallgpt.reporting.axis_units import Measure
from smallgpt.reporting.charts import Figure, colour, dashes, figure, layered, values, vl_version
from smallgpt.reporting.dashboard_panels import ARM
from smallgpt.reporting.wandb_files import LoggedRun

STYLE = """
body { font-family: sans-serif; margin: 1.5rem; color: #222 } section { display: flex; flex-wrap: wrap; gap: 1rem }
figure { margin: 0; padding: .6rem; border: 1px solid #ddd; border-radius: 6px; max-width: 100% }
figcaption { font-weight: 600; margin-bottom: .4rem } table { border-collapse: collapse; font-size: .85rem }
td, th { border-bottom: 1px solid #ddd; padding: .2rem .5rem; text-align: left; white-space: pre-wrap }
.wide { width: 100%; overflow-x: auto }
"""
ROWS = 40  # of a table; W&B shows pages of it
Drawn = Figure | str
"""What a panel becomes: a figure, or HTML."""


def preview(title: str, sections: Mapping[str, Sequence[Any]], runs: Sequence[LoggedRun]) -> str:
    """The whole page."""
    parts = [f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"]
    parts.append(f"<h1>{html.escape(title)}</h1>")
    for name, panels in sections.items():
        drawn = [panel_html(panel, runs) for panel in panels]
        parts.append(f"<h2>{html.escape(name)}</h2><section>{''.join(drawn)}</section>")
    return "\n".join(parts) + "\n"


def panel_html(panel: Any, runs: Sequence[LoggedRun]) -> str:
    """A panel as HTML; one that no run has values for says so, as it would be empty on W&B."""
    import vl_convert

    drawn = draw_panel(panel, runs)
    if isinstance(drawn, str):
        return f"<figure class=wide>{drawn}</figure>"
    caption = f"<figcaption>{html.escape(drawn.title)}</figcaption>"
    if drawn.error:
        return f"<figure>{caption}{html.escape(drawn.error)}</figure>"
    spec = {key: value for key, value in drawn.spec.items() if key != "title"}
    return f"<figure>{caption}{vl_convert.vegalite_to_svg(spec, vl_version=vl_version())}</figure>"


def draw_panel(panel: Any, runs: Sequence[LoggedRun]) -> Drawn:
    """What W&B would draw in a panel."""
    import wandb_workspaces.reports.v2 as wr

    if isinstance(panel, wr.MarkdownPanel):
        return "".join(markdown_html(panel.markdown))
    if isinstance(panel, wr.WeavePanelSummaryTable):
        return merged_table(panel.table_name, runs)
    drawers = {
        wr.LinePlot: line_plot,
        wr.ScatterPlot: scatter_plot,
        wr.BarPlot: bar_plot,
        wr.ParallelCoordinatesPlot: parallel_coordinates,
    }
    return drawers[type(panel)](panel, runs)


def empty(title: str) -> Figure:
    """Stands for a panel that no run has values for."""
    return Figure("empty", "dashboard", title, {}, "no run has values for this panel")


def arm_of(run: LoggedRun) -> str:
    """What the runs are grouped by."""
    return str(run.config.get(ARM, run.name))


def arms_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Arms of rows, each once."""
    return list(dict.fromkeys(row["arm"] for row in rows))


def line_plot(panel: Any, runs: Sequence[LoggedRun]) -> Figure:
    """Mean over the runs of each arm, with a band from the least to the largest."""
    import altair as alt

    points: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for run in runs:
        for step, row in run.history.items():
            if panel.x in row and isinstance(row.get(panel.y[0]), int | float):
                points.setdefault((arm_of(run), step), []).append((row[panel.x], row[panel.y[0]]))
    rows: list[dict[str, Any]] = [
        {
            "arm": arm,
            "x": sum(x for x, _ in found) / len(found),
            "mean": sum(y for _, y in found) / len(found),
            "low": min(y for _, y in found),
            "high": max(y for _, y in found),
        }
        for (arm, _), found in points.items()
    ]
    if not rows:
        return empty(panel.title)
    arms, spent = arms_of(rows), [row["x"] for row in rows]
    measure = Measure(panel.x)
    x = alt.X("x:Q", title=measure.title(spent), axis=measure.ticks(spent))
    base = alt.Chart(values(rows)).encode(x=x, color=colour(arms))
    y = alt.Y("mean:Q", title=panel.y[0], scale=alt.Scale(zero=False))
    band = base.encode(y=alt.Y("low:Q", title=panel.y[0], scale=alt.Scale(zero=False)), y2="high:Q")
    chart = layered(band.mark_area(opacity=0.2), base.encode(y=y, strokeDash=dashes(arms)).mark_line())
    return figure("line", "dashboard", panel.title, chart, 240)


def place_of(metric: Any) -> tuple[str, str]:
    """Section and key of a metric of a panel."""
    return ("config" if type(metric).__name__ == "Config" else "summary"), getattr(metric, "name", metric)


def scatter_plot(panel: Any, runs: Sequence[LoggedRun]) -> Figure:
    """A point for each run, with the best value so far as a line."""
    import altair as alt

    (x_section, x_name), (y_section, y_name) = place_of(panel.x), place_of(panel.y)
    rows: list[dict[str, Any]] = [
        {"arm": arm_of(run), "x": run.value(x_section, x_name), "y": run.value(y_section, y_name)}
        | {"run": run.name, "best": None}
        for run in runs
    ]
    rows = [row for row in rows if row["x"] is not None and row["y"] is not None]
    if not rows:
        return empty(panel.title)
    arms = arms_of(rows)
    numbers = all(isinstance(row["x"], int | float) and not isinstance(row["x"], bool) for row in rows)
    if numbers:
        rows.sort(key=lambda row: row["x"])
        for number, row in enumerate(rows):
            row["best"] = min(each["y"] for each in rows[: number + 1])
        x = Measure(x_name).x("x", [row["x"] for row in rows])
    else:
        rows = [row | {"x": str(row["x"])} for row in rows]
        x = alt.X("x:N", title=x_name)
    base = alt.Chart(values(rows)).encode(x=x)
    y = alt.Y("y:Q", title=y_name, scale=alt.Scale(zero=False))
    layers = [base.encode(y=y, color=colour(arms)).mark_point(filled=True, size=70)]
    if numbers and panel.running_ymin:
        layers.append(base.encode(y="best:Q").mark_line(color="#888", strokeDash=[4, 3], interpolate="step-after"))
    return figure("scatter", "dashboard", panel.title, layered(*layers), 240)


def bar_plot(panel: Any, runs: Sequence[LoggedRun]) -> Figure:
    """A bar for each summary value of each arm, the mean over its runs."""
    import altair as alt

    found: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        for key in panel.metrics:
            if (value := run.value("summary", key)) is not None:
                found.setdefault((arm_of(run), key), []).append(value)
    rows = [{"arm": arm, "metric": key, "value": sum(each) / len(each)} for (arm, key), each in found.items()]
    if not rows:
        return empty(panel.title)
    arms = arms_of(rows)
    y = alt.Y("metric:N", title=None, sort=list(panel.metrics), axis=alt.Axis(labelLimit=260))
    chart = alt.Chart(values(rows)).encode(
        x=alt.X("value:Q", title=None), y=y, yOffset=alt.YOffset("arm:N", sort=arms), color=colour(arms)
    )
    return figure("bars", "dashboard", panel.title, chart.mark_bar(), 30 + 14 * len(rows))


def parallel_coordinates(panel: Any, runs: Sequence[LoggedRun]) -> Figure:
    """A line for each run over axes that each go from their least value, or their first text, to the largest."""
    import altair as alt

    places = [place_of(column.metric) for column in panel.columns]
    table = {run.id: [run.value(*place) for place in places] for run in runs}
    complete = [run for run in runs if None not in table[run.id]]
    if not complete:
        return empty(panel.title)
    rows = []
    for number, (_, name) in enumerate(places):
        column = [table[run.id][number] for run in complete]
        for run, height in zip(complete, heights(column), strict=True):
            rows.append({"arm": arm_of(run), "run": run.name, "axis": name, "height": height})
    chart = (
        alt.Chart(values(rows))
        .encode(
            x=alt.X("axis:N", title=None, sort=[name for _, name in places], axis=alt.Axis(labelAngle=0)),
            y=alt.Y("height:Q", title="from the least to the largest value", axis=alt.Axis(labels=False, ticks=False)),
            color=colour(arms_of(rows)),
            detail="run:N",
        )
        .mark_line()
    )
    return figure("parallel", "dashboard", panel.title, chart, 240)


def heights(column: Sequence[Any]) -> list[float]:
    """Places of values on an axis from 0 to 1; texts stand at equal distances."""
    if not all(isinstance(value, int | float) for value in column):
        known = list(dict.fromkeys(map(str, column)))
        column = [known.index(str(value)) for value in column]
    low, high = min(column), max(column)
    return [(value - low) / (high - low) if high > low else 0.5 for value in column]


def merged_table(key: str, runs: Sequence[LoggedRun]) -> str:
    """The table of all runs, with the name of the run before each row."""
    columns: list[str] = []
    rows: list[list[Any]] = []
    for run in runs:
        known, found = run.table(key)
        columns = columns or known
        rows += [[run.name, *row] for row in found]
    if not rows:
        return f"{html.escape(key)}: no run has this table"
    more = f"<p>and {len(rows) - ROWS} more rows</p>" if len(rows) > ROWS else ""
    return f"<figcaption>{html.escape(key)}</figcaption>" + table_html([["run", *columns], *rows[:ROWS]]) + more


def table_html(rows: Sequence[Sequence[Any]]) -> str:
    """Rows as a table of HTML; the first one names the columns."""
    first, *rest = [[html.escape("" if cell is None else str(cell)) for cell in row] for row in rows]
    lines = [f"<tr><td>{'<td>'.join(row)}" for row in rest]
    return f"<table><tr><th>{'<th>'.join(first)}{''.join(lines)}</table>"


def markdown_html(text: str) -> Iterator[str]:
    """Paragraphs and tables of our own Markdown as HTML."""
    for block in text.split("\n\n"):
        if block.startswith("| "):
            lines = [line.strip("| ").replace("\\|", "\0").split(" | ") for line in block.splitlines()]
            cells = [[html.unescape(cell).replace("\0", "|").replace("**", "") for cell in line] for line in lines]
            yield table_html([cells[0], *cells[2:]])
        else:
            yield f"<p>{html.escape(html.unescape(block))}</p>"
