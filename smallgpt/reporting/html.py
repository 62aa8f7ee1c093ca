"""Page of a report, report.html: one file with everything in it, which needs neither a server nor a network."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smallgpt.reporting.arm_table import arm_table
from smallgpt.reporting.caveats import caveats
from smallgpt.reporting.charts import Figure, vl_version
from smallgpt.reporting.decision_summary import summary
from smallgpt.reporting.markdown import findings, lowest, markdown
from smallgpt.reporting.notes import about_the_data, about_the_study, arm_notes
from smallgpt.reporting.statistics import winner
from smallgpt.reporting.study import Comparison, Study, command
from smallgpt.results import plain_json

GLOBALS = "window.vegaEmbed = vegaEmbed;"
PARTS = {  # of a page, with what the reader must know of their figures
    "loss": (
        "Loss over training",
        "Click names in a legend to show these runs only; drag to move, Shift and wheel to zoom, double-click to undo.",
    ),
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
    import vl_convert
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # what models and errors say may be anything
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    specs = {figure.name: figure.for_page for drawn in figures for figure in drawn if figure.error is None}
    library = vl_convert.javascript_bundle(GLOBALS, vl_version()) if specs else ""
    return environment.get_template("report.html.j2").render(
        title=title,
        study=study,
        commands=[command(sweep, [job for job in study.jobs if job.run_dir.parent == sweep]) for sweep in study.sweeps],
        sections=[
            comparison_section(study, comparison, drawn)
            for comparison, drawn in zip(study.comparisons, figures, strict=True)
        ],
        notes=about_the_study(study),
        environments=environments(study),
        markdown=markdown(study),
        specs=for_script(specs),
        library=library.replace("</script", "<\\/script"),
    )


def comparison_section(study: Study, comparison: Comparison, figures: Sequence[Figure]) -> dict[str, Any]:
    """Section of the page for the arms of one data set, as the template takes it."""
    decided = summary(comparison)
    return {
        "data": about_the_data(study, comparison) if len(study.comparisons) > 1 else None,
        "winner": decided[0] if decided else winner(comparison),
        "summary": decided[1:],
        "caveats": caveats(comparison),
        "rows": arm_table(comparison),
        "best": lowest(comparison),
        "notes": arm_notes(comparison),
        "found": [
            (name, heading, tables, [figure for figure in figures if figure.part == name])
            for name, heading, tables in findings(comparison)
        ],
        "parts": [
            (name, heading, hint, drawn)
            for name, (heading, hint) in PARTS.items()
            if (drawn := [figure for figure in figures if figure.part == name])
        ],
        "samples": [(arm.label, arm.sample) for arm in comparison.arms if arm.sample],
    }


def environments(study: Study) -> list[tuple[str, dict[str, Any]]]:
    """Each that is different, with the jobs that ran in it."""
    found: dict[str, tuple[list[str], dict[str, Any]]] = {}
    for job in study.jobs:
        if environment := job.section("environment"):
            key = json.dumps(environment, sort_keys=True)
            found.setdefault(key, ([], environment))[0].append(job.name)
    return [(f"jobs {', '.join(names)}" if len(found) > 1 else "all jobs", values) for names, values in found.values()]


def for_script(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(plain_json(value), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
