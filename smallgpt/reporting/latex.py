"""LaTeX table of a report, table.tex: the arms with their losses, differences and costs, for the package booktabs."""

import re
from collections.abc import Sequence

from smallgpt.reporting.arm_table import ARM, arm_table
from smallgpt.reporting.ranking import lowest_arms, shown_arms
from smallgpt.reporting.statistics import SPLITS
from smallgpt.reporting.study import Comparison, Study

SPECIAL = {
    "\\": r"\textbackslash{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "→": r"$\to$",
    "<": r"$<$",
    ">": r"$>$",
}
COLUMNS = ("difference [95 %]", "p", "seeds", "bits per byte", "parameters", "training FLOPs")
"""Columns of the arms' table that a paper shows, behind the arm and its loss."""


def latex_table(study: Study) -> str:
    """A table for each comparison."""
    return "\n\n".join(comparison_table(comparison) for comparison in study.comparisons if comparison.arms) + "\n"


def comparison_table(comparison: Comparison) -> str:
    """The arms of the figures, the lowest loss in bold."""
    shown = {arm.label for arm in shown_arms(comparison)}
    best = {arm.label for arm in lowest_arms(comparison)}
    every = arm_table(comparison)
    loss = f"{SPLITS[comparison.split]} loss"
    names = [name for name in (loss, *COLUMNS) if name in every[0]]
    rows = []
    for row in [row for row in every if row[ARM] in shown]:
        cells = [latex(row[name]) for name in names]
        if row[ARM] in best and loss in names:
            cells[0] = rf"\textbf{{{cells[0]}}}"
        rows.append([latex(row[ARM]), *cells])
    more = f" % the best {len(rows)} of {len(every)} arms" if len(rows) < len(every) else ""
    lines = [line([latex(name) for name in ("", *names)]), r"\midrule", *map(line, rows)]
    body = "\n".join([rf"\begin{{tabular}}{{l{'r' * len(names)}}}{more}", r"\toprule", *lines, r"\bottomrule"])
    return f"{body}\n\\end{{tabular}}"


def line(cells: Sequence[str]) -> str:
    """Row of a LaTeX table."""
    return f"{' & '.join(cells)} \\\\"


def latex(text: str) -> str:
    """Text as LaTeX sets it; a minus before a number is one."""
    escaped = "".join(SPECIAL.get(letter, letter) for letter in text)
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", escaped)
