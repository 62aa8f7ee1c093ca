"""The table that a sweep of task=inspect ends in: what each model costs, side by side, and where they differ."""

from collections.abc import Callable, Sequence
from typing import Any

from smallgpt.errors import shown
from smallgpt.notices import clock_time
from smallgpt.reporting.arms import Arm
from smallgpt.reporting.naming import short_names
from smallgpt.reporting.study import Comparison
from smallgpt.reporting.tables import scaled

SAME = "same"
Row = tuple[str, list[float | None], Callable[[float], str]]


def cost_table(comparison: Comparison) -> tuple[list[str], list[list[str]], list[str]]:
    """Columns, rows and notes: a column an arm, the baseline first; a row a cost, then a row a key that differs.

    Beside each cost stands by how much it differs from the baseline's; `same` where it does not, and a cost that all
    arms share is said below the table.
    """
    first = comparison.baseline or comparison.arms[0]
    arms = [first, *[arm for arm in comparison.arms if arm is not first]]
    rows, shared = [], []
    for name, values, text in costs(arms):
        if len(arms) > 1 and len(set(values)) == 1 and name != "parameters":
            shared.append(f"{name.strip()} {text(values[0])}" if values[0] is not None else "")
        else:
            rows.append([name, *[beside(value, values[0], text) for value in values]])
    widths = [str(arm.jobs[0].section("cost").get("schedule", "")) for arm in arms]
    if any(widths):
        rows.append(["blocks@width", *widths])
    notes = [f"The same for all: {', '.join(filter(None, shared))}."] if any(shared) else []
    if len(arms) > 1 and any(forecast(arm).get("measured") for arm in arms):
        notes.append("Speed was measured one model after the other, which compares them on a quiet machine alone.")
    if any(forecast(arm).get("measured") is False for arm in arms):
        notes.append("A time with 'over' is that of the matrix products alone, at this machine's best rate.")
    return ["", *[arm.label for arm in arms]], rows + settings(arms), notes


def costs(arms: Sequence[Arm]) -> list[Row]:
    """Name, value of each arm and form of each cost; costs that no arm has are left out."""
    cards = [arm.jobs[0].section("cost") for arm in arms]
    groups = dict.fromkeys(group for card in cards for group in card.get("parameters_by_group", {}))
    rows: list[Row] = [("parameters", [card.get("parameters") for card in cards], lambda n: scaled(n, "").strip())]
    for group in groups:
        found = [card.get("parameters_by_group", {}).get(group, 0) for card in cards]
        rows.append((f"  {group}", found, lambda n: scaled(n, "").strip()))
    for name, key, unit in (
        ("training FLOPs a token", "training_flops_per_token", "FLOP"),
        ("inference FLOPs a token", "inference_flops_per_token", "FLOP"),
        ("cache a token", "cache_bytes_per_token", "B"),
        ("state a sequence", "state_bytes", "B"),
        ("memory of training, estimated", "training_memory_bytes", "B"),
        ("tokens of the run", "tokens", ""),
        ("FLOPs of the run", "training_flops", "FLOP"),
    ):
        rows.append((name, [card.get(key) for card in cards], lambda n, unit=unit: scaled(n, unit).strip()))
    decoding = [arm.jobs[0].section("latency").get("seconds_per_token") for arm in arms]
    rows.append(("decoding a token, measured", decoding, lambda s: f"{1000 * s:.3g} ms"))
    bound = "over " if any(forecast(arm).get("measured") is False for arm in arms) else ""
    rows.append(
        ("tokens/s in training here", [forecast(arm).get("tokens_per_second") for arm in arms], "{:,.0f}".format)
    )
    seconds = [forecast(arm).get("seconds") for arm in arms]
    rows.append(("time of the run here", seconds, lambda s: bound + clock_time(s)))
    return [row for row in rows if any(row[1])]


def forecast(arm: Arm) -> dict[str, Any]:
    """The fastest forecast of an arm's jobs: what else the machine does only slows them."""
    found = [job.section("forecast") for job in arm.jobs]
    return max(found, key=lambda section: section.get("tokens_per_second") or 0.0)


def beside(value: float | None, baseline: float | None, text: Callable[[float], str]) -> str:
    """A cost, and its difference from the baseline's in percent."""
    if value is None:
        return ""
    if not baseline or value == baseline:
        return text(value)
    return f"{text(value)} ({100 * (value / baseline - 1):+.0f}%)"


def settings(arms: Sequence[Arm]) -> list[list[str]]:
    """Rows of the keys whose values differ; a dash where a variant has no such key."""
    configs = [arm.jobs[0].compared for arm in arms]
    keys = [key for key in dict.fromkeys(key for config in configs for key in config) if not key.endswith("_target_")]
    differing = [key for key in keys if any(config.get(key) != configs[0].get(key) for config in configs)]
    return [
        [short, *[shown(config[key]) if key in config else "-" for config in configs]]
        for key, short in short_names(differing).items()
    ]
