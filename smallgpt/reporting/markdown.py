"""results.md: the table of a study for a paper or a pull request."""

from smallgpt.reporting.arm_table import ARM, about_the_data, about_the_study, arm_table, notes
from smallgpt.reporting.arms import Comparison, Study, command
from smallgpt.reporting.statistics import winner


def markdown(study: Study) -> str:
    parts = [f"**{escaped(study.question)}**"] if study.question else []
    parts += [f"    {command(sweep, study.jobs)}" for sweep in study.sweeps]
    for comparison in study.comparisons:
        if len(study.comparisons) > 1:
            parts.append(escaped(about_the_data(study, comparison)))
        parts += [escaped(winner(comparison)), table(comparison)]
        parts += [escaped(note) for note in notes(comparison)]
    parts += [escaped(note) for note in about_the_study(study)]
    parts += [escaped(f"job {job.name} {job.status}: {job.result.get('error')}") for job in study.unfinished]
    return "\n\n".join(parts) + "\n"


def table(comparison: Comparison) -> str:
    """Numbers to the right; the row of the lowest loss in bold."""
    rows = arm_table(comparison)
    names = list(rows[0])
    best = lowest(comparison)
    lines = [names, [":---" if name in (ARM, "verdict") else "---:" for name in names]]
    for row in rows:
        bold = row[ARM] in best
        lines.append([f"**{escaped(text)}**" if bold and name == ARM else escaped(text) for name, text in row.items()])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def lowest(comparison: Comparison) -> set[str]:
    """Labels of the arms with the lowest mean loss."""
    means = {arm.label: sum(scores) / len(scores) for arm in comparison.arms if (scores := arm.by_seed().values())}
    return {label for label, value in means.items() if value == min(means.values())}


def escaped(text: str) -> str:
    """Without what would end a cell or be taken for HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
