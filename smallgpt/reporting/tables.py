"""How a table looks on a terminal, in a file and in a log."""

import sys
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from smallgpt.notices import printable

LOG_WIDTH = 160  # columns where no terminal says how many there are


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Numbers to the right, text to the left; None is left blank."""
    table = Table(title=printable(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for name, values in zip(columns, zip(*rows, strict=True), strict=True):
        number = all(isinstance(value, int | float) or value is None for value in values)
        table.add_column(printable(name), justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*[cell(value) for value in row])
    console().print(table)


def print_pairs(title: str, pairs: dict[str, Any]) -> None:
    """A card: a name and a value on each line."""
    table = Table(title=printable(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.show_header = False
    for name, value in pairs.items():
        table.add_row(printable(name), cell(value))
    console().print(table)


def console() -> Console:
    """Console as wide as the terminal, or as a log is."""
    return Console(width=None if sys.stdout.isatty() else LOG_WIDTH, highlight=False, markup=False)


def cell(value: Any) -> str:
    """Whole numbers with separators, others with four digits."""
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))


def scaled(value: float, unit: str) -> str:
    """`12.3 MFLOP` of 12300000 and `FLOP`; steps of 1000."""
    for prefix in ("", "k", "M", "G", "T", "P", "E"):
        if abs(value) < 1000 or prefix == "E":
            break
        value /= 1000
    return f"{value:.4g} {prefix}{unit}"
