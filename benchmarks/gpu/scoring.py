"""Step `scoring`: items of a multiple-choice task a second, by `Scorer` and by one pass an option, in bf16."""

import statistics
from pathlib import Path
from typing import Any

from benchmarks.gpu.rows import check, row
from benchmarks.scoring import choices, compare


def measure(folder: Path, tiny: bool) -> list[dict[str, Any]]:
    """Rows of both, and how many of their choices are the same: in bf16 close ones may differ."""
    size, items, rounds, device = ("debug", 8, 1, "cpu") if tiny else ("paper", 512, 3, "cuda")
    ours, loop = compare(rounds, "gpt", size, not tiny, items, device)
    rates = [items / statistics.median(seconds for seconds, _ in each) for each in (ours, loop)]
    same = sum(a == b for a, b in zip(choices(ours[-1][1]), choices(loop[-1][1]), strict=True)) / items
    return [
        row("items a second", rates[0], "items/s"),
        row("items a second, one pass an option", rates[1], "items/s"),
        row("speed over one pass an option", rates[0] / rates[1], "x"),
        check("nine of ten choices are the same", same >= 0.9, f"{same:.0%}"),
    ]
