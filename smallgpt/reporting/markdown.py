"""Markdown of a report, results.md: the table of a study for a paper or a pull request."""

from collections.abc import Collection, Sequence

from smallgpt.reporting.arm_table import ARM, arm_table
from smallgpt.reporting.caveats import caveats
from smallgpt.reporting.decision_summary import summary
from smallgpt.reporting.decision_tables import decision_findings
from smallgpt.reporting.evaluation_tables import Table, evaluation_tables
from smallgpt.reporting.front import front_tables
from smallgpt.reporting.inferences import inference_tables
from smallgpt.reporting.notes import about_the_data, about_the_study, arm_notes
from smallgpt.reporting.scaling_tables import scaling_tables
from smallgpt.reporting.speed_to_loss import speed_tables
from smallgpt.reporting.statistics import winner
from smallgpt.reporting.study import Comparison, Study, command


def markdown(study: Study) -> str:
    """Whole results.md of a study."""
    parts = [f"**{escaped(study.question)}**"] if study.question else []
    parts += [f"    {command(sweep, study.jobs)}" for sweep in study.sweeps]
    for comparison in study.comparisons:
        if len(study.comparisons) > 1:
            parts.append(escaped(about_the_data(study, comparison)))
        concluded = summary(comparison) or [winner(comparison)]
        parts += [*map(escaped, [*concluded, *caveats(comparison)]), arm_markdown(comparison)]
        parts += [escaped(note) for note in arm_notes(comparison)]
        for _, heading, tables in findings(comparison):
            parts.append(f"**{heading}**")
            for found in tables:
                parts += [known_table(found), *[escaped(note) for note in found.notes]]
    parts += [escaped(note) for note in about_the_study(study)]
    parts += [escaped(f"job {job.name} {job.status}: {job.result.get('error')}") for job in study.unfinished]
    return "\n\n".join(parts) + "\n"


def findings(comparison: Comparison) -> list[tuple[str, str, list[Table]]]:
    """What stands below the table of the arms: the part of the page, its heading and its tables, if it has any."""
    parts = [
        *decision_findings(comparison),
        ("front", "The Pareto front", front_tables(comparison)),
        ("speed", "Speed to the baseline's loss", speed_tables(comparison)),
        ("scaling", "Scaling with size", scaling_tables(comparison)),
        ("evaluation", "What the models know", evaluation_tables(comparison)),
        ("inference", "Inference", inference_tables(comparison)),
    ]
    return [part for part in parts if part[2]]


def arm_markdown(comparison: Comparison) -> str:
    """Numbers to the right; the row of the lowest loss in bold."""
    rows = arm_table(comparison)
    names = list(rows[0])
    best = lowest(comparison)
    lines = []
    for row in rows:
        bold = row[ARM] in best
        lines.append([f"**{escaped(text)}**" if bold and name == ARM else escaped(text) for name, text in row.items()])
    return table_of(names, lines, (ARM, "verdict"))


def known_table(found: Table) -> str:
    """Table of findings in Markdown."""
    rows = [[f"**{escaped(cell.text)}**" if cell.best else escaped(cell.text) for cell in row] for row in found.rows]
    return table_of([escaped(name) for name in found.columns], rows, found.texts)


def table_of(columns: Sequence[str], rows: Sequence[Sequence[str]], texts: Collection[str]) -> str:
    """Columns named in `texts` to the left, others to the right."""
    sides = [":---" if name in texts else "---:" for name in columns]
    return "\n".join(f"| {' | '.join(line)} |" for line in [columns, sides, *rows])


def lowest(comparison: Comparison) -> set[str]:
    """Labels of the arms with the lowest mean loss."""
    means = {
        arm.label: sum(scores) / len(scores) for arm in comparison.arms if (scores := comparison.losses(arm).values())
    }
    return {label for label, value in means.items() if value == min(means.values())}


def escaped(text: str) -> str:
    """Text without what would end a cell or be taken for HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
