"""Page of a report, report.html: one file with everything in it, which needs neither a server nor a network."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from smallgpt.reporting.arm_table import ARM, COSTS, arm_table
from smallgpt.reporting.caveats import caveats, jobs_text
from smallgpt.reporting.charts import Figure, vl_version
from smallgpt.reporting.curve_figures import interactive_curves
from smallgpt.reporting.curves import arm_curve, coinciding
from smallgpt.reporting.decision_summary import summary
from smallgpt.reporting.job_table import job_table
from smallgpt.reporting.latex import latex_table
from smallgpt.reporting.markdown import findings, markdown
from smallgpt.reporting.notes import about_the_data, about_the_study, arm_notes
from smallgpt.reporting.price import prices, study_cost
from smallgpt.reporting.ranking import MOST_ARMS, answer, lowest_arms, ranked, shown_arms
from smallgpt.reporting.statistics import winner
from smallgpt.reporting.study import Comparison, Study, command
from smallgpt.results import plain_json

GLOBALS = "window.vegaEmbed = vegaEmbed;"
PARTS = {  # of a page, with what the reader must know of their figures
    "quality": (
        "Quality against cost",
        "Mean over seeds with its 95 % interval. On the dashed line, the Pareto front, are the arms that are better "
        "than all that cost less: the interval of the difference, over the seeds that both have, leaves 0 out. Of one "
        "seed no interval is known. Of a search with several metrics, the line joins the best at each cost, whatever "
        "its interval.",
    ),
    "axis": (
        "What the study varies",
        "Means over seeds. The dashed line is the baseline, where it has no such choice.",
    ),
    "examples": (
        "What further examples are worth",
        "Means over seeds with 95 % intervals, beside what a fine-tuning has to beat: the class that is most frequent "
        "in training, and the model of before with solved examples in front of each prompt.",
    ),
    "parameters": ("Where the parameters sit", ""),
    "diagrams": (
        "The variants, block by block",
        "The data goes from top to bottom. A bar is as wide as the stream; all diagrams have one scale. Heads are "
        "number x width.",
    ),
}


def page(study: Study, figures: Sequence[Sequence[Figure]], title: str) -> str:
    """The whole page; `figures` holds those of each comparison."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # what models and errors say may be anything
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = unbroken
    sections = [
        comparison_section(study, comparison, drawn)
        for comparison, drawn in zip(study.comparisons, figures, strict=True)
    ]
    # they are drawn by the page's own controls
    static = [figure for drawn in figures for figure in drawn if figure.part != "loss" and figure.error is None]
    drawings = {
        "figures": {figure.name: figure.for_page for figure in static},
        "curves": [section["curves"] for section in sections],
    }
    empty = not static and not any(drawings["curves"])
    library = "" if empty else drawing_library()
    columns, rows = job_table(study.jobs)
    return environment.get_template("report.html.j2").render(
        title=title,
        study=study,
        cost=study_cost(study),
        commands=[command(sweep, [job for job in study.jobs if job.run_dir.parent == sweep]) for sweep in study.sweeps],
        sections=sections,
        notes=about_the_study(study),
        environments=environments(study),
        job_columns=columns,
        job_rows=rows,
        most=MOST_ARMS,
        markdown=markdown(study),
        latex=latex_table(study),
        drawings=for_script(drawings),
        library=library.replace("</script", "<\\/script"),
    )


@cache
def drawing_library() -> str:
    """JavaScript that draws the page's figures; it takes seconds to put together."""
    import vl_convert

    return vl_convert.javascript_bundle(GLOBALS, vl_version())


def comparison_section(study: Study, comparison: Comparison, figures: Sequence[Figure]) -> dict[str, Any]:
    """Section of the page for the arms of one data set, as the template takes it."""
    rows = arm_table(comparison)
    results = [name for name in rows[0] if name not in COSTS]
    costs = [ARM, *[name for name in rows[0] if name in COSTS]]
    best, rival = answer(comparison)
    shown = shown_arms(comparison)
    grey = f"Grey: what is not among the first {MOST_ARMS}." if len(rows) > len(shown) else ""
    alone = len(study.comparisons) == 1
    curves = interactive_curves(comparison, study.unfinished if alone else [])  # a failed job's data is not known
    decided = summary(comparison)
    return {
        "data": about_the_data(study, comparison) if not alone else None,
        "winner": decided[0] if decided else winner(comparison),
        "summary": decided[1:],
        "best": best and best.label,
        "rival": rival and rival.label,
        "prices": [] if decided else prices(comparison),
        "caveats": caveats(comparison),
        "rows": rows,
        "shown": [arm.label for arm in shown],
        "tables": [(name, names) for name, names in (("Arms", results), ("What they cost", costs)) if len(names) > 1],
        "lowest": {arm.label for arm in lowest_arms(comparison)},
        "notes": arm_notes(comparison),
        "answer": [figure for figure in figures if figure.part == "answer"],
        "curves": curves,
        "curve_text": curve_text(figures),
        "curve_errors": [figure for figure in figures if figure.part == "loss" and figure.error],
        "coinciding": coinciding(comparison, [arm_curve(arm) for arm in shown]),
        "found": [
            (name, heading, tables, [figure for figure in figures if figure.part == name])
            for name, heading, tables in findings(comparison)
        ],
        "parts": [
            (name, heading, f"{hint} {grey}" if name in ("quality", "axis") else hint, drawn)
            for name, (heading, hint) in PARTS.items()
            if (drawn := [figure for figure in figures if figure.part == name])
        ],
        "samples": [(arm.label, arm.sample) for arm in ranked(comparison) if arm.sample],
    }


def unbroken(text: str) -> str:
    """Text of a table's cell that breaks between a number and its interval, not inside of an interval."""
    return text.replace(", ", ",\N{NO-BREAK SPACE}").replace("± ", "±\N{NO-BREAK SPACE}")


def curve_text(figures: Sequence[Figure]) -> str:
    """What the curves show, in words."""
    return next((figure.text for figure in figures if figure.part == "loss"), "")


def environments(study: Study) -> list[tuple[str, dict[str, Any]]]:
    """Each that is different, with the jobs that ran in it."""
    found: dict[str, tuple[list[str], dict[str, Any]]] = {}
    for job in study.jobs:
        if environment := job.section("environment"):
            key = json.dumps(environment, sort_keys=True)
            found.setdefault(key, ([], environment))[0].append(job.name)
    return [(jobs_text(names) if len(found) > 1 else "all jobs", values) for names, values in found.values()]


def for_script(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(plain_json(value), ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )
