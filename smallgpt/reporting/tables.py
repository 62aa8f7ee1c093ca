"""How a table looks on a terminal, in a file and in a log."""

import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

NUMBER = re.compile(r"^[\[(+-]?\d[\d.,]*(e[+-]?\d+)?[\]),%]*$")
LONG_WORD = 30  # a longer one, such as a path, may be broken
FRAME, BETWEEN = 1, 3  # columns of a table's edges, and around each of its columns
LOG_WIDTH = 160  # columns where no terminal says how many there are


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Numbers to the right, text to the left; None is left blank. Where it is too wide, columns go on below."""
    texts = [[cell(value) for value in row] for row in rows]
    least = [narrowest([name, *(row[i] for row in texts)]) for i, name in enumerate(columns)]
    numbers = [all(isinstance(row[i], int | float) or row[i] is None for row in rows) for i in range(len(columns))]
    to = console()
    for block in blocks(least, to.width):
        table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        natural = [max(len(columns[i]), *(len(row[i]) for row in texts), 0) for i in block]
        for i, width in zip(block, widths([least[i] for i in block], natural, to.width), strict=True):
            justify = "right" if numbers[i] and rows else "left"
            table.add_column(columns[i], justify=justify, overflow="fold", width=width)
        for row in texts:
            table.add_row(*[row[i] for i in block])
        to.print(table)
        title = ""


def narrowest(texts: Iterable[str]) -> int:
    """Width of a column in which no number is broken in two, and no word that is not longer than a path's part."""
    words = [word for text in texts for word in text.split()]
    return max([len(word) if NUMBER.search(word) else min(len(word), LONG_WORD) for word in words], default=1)


def blocks(least: Sequence[int], width: int) -> list[list[int]]:
    """Columns of each table that a table is cut into, so that each fits; the first column begins all of them."""
    found, room = [[0]], width - FRAME - least[0] - BETWEEN
    left = room
    for i in range(1, len(least)):
        needed = least[i] + BETWEEN
        if needed > left and len(found[-1]) > 1:
            found.append([0])
            left = room
        found[-1].append(i)
        left -= needed
    return found


def widths(least: Sequence[int], natural: Sequence[int], width: int) -> list[int]:
    """Widths of columns: what each needs at least, and more up to its natural one while there is room."""
    left = width - FRAME - sum(each + BETWEEN for each in least)
    found = []
    for needed, wanted in zip(least, natural, strict=True):
        more = max(0, min(wanted - needed, left))
        found.append(needed + more)
        left -= more
    return found


def print_pairs(title: str, pairs: dict[str, Any]) -> None:
    """A card: a name and a value on each line."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.show_header = False
    to, both = console(), (list(pairs), [cell(value) for value in pairs.values()])
    natural = [max(map(len, texts), default=1) for texts in both]
    for width in widths([narrowest(texts) for texts in both], natural, to.width):
        table.add_column(overflow="fold", width=width)
    for row in zip(*both, strict=True):
        table.add_row(*row)
    to.print(table)


def console() -> Console:
    """Console as wide as the terminal, or as a log is."""
    return Console(width=None if sys.stdout.isatty() else LOG_WIDTH, highlight=False, markup=False)


def cell(value: Any) -> str:
    """Whole numbers with separators, others with four digits."""
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def scaled(value: float, unit: str) -> str:
    """`12.3 MFLOP` of 12300000 and `FLOP`; steps of 1000."""
    for prefix in ("", "k", "M", "G", "T", "P", "E"):
        if abs(value) < 1000 or prefix == "E":
            break
        value /= 1000
    return f"{value:.4g} {prefix}{unit}"
