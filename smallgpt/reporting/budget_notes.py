"""Sentences about what was equal for all arms, and how far whole steps are from it."""

from collections.abc import Mapping, Sequence
from typing import Any

from smallgpt.reporting.axis_units import Measure
from smallgpt.reporting.quality_figures import COST_AXES
from smallgpt.reporting.study import Comparison

COMPUTE = COST_AXES["train", "flops"]
KEYS = ("tokens", "flops", "epochs", "seconds")


def budget_notes(comparison: Comparison) -> list[str]:
    """Nothing where all arms took the same number of tokens, as their budget says."""
    tokens = [value for arm in comparison.arms if (value := arm.number("train", "tokens")) is not None]
    flops = [value for arm in comparison.arms if (value := arm.cost("train", "flops")) is not None]
    budgets = [budget(arm.described.config) for arm in comparison.arms]
    spent = f"{span([f'{value:,.0f}' for value in (min(tokens), max(tokens))])} tokens" if tokens else ""
    if any(each != budgets[0] for each in budgets):
        took = f", {span(list(map(COMPUTE.text, (min(flops), max(flops)))))}" if flops else ""
        return [f"The arms were trained on unequal budgets: {spent}{took}."]
    kind, size = budgets[0]
    if kind == "flops" and flops:
        least, most = min(flops), max(flops)
        took = span([COMPUTE.text(least), COMPUTE.text(most)])
        asked = COMPUTE.text(size)
        return [f"Equal training compute, {asked}: in whole steps {took}, {most / least - 1:.1%} apart; {spent}."]
    if kind == "seconds":
        return [f"Equal training time, {Measure('time', 's').text(size)}: {spent}."]
    if tokens and min(tokens) < max(tokens):
        return [f"The arms were trained on unequal budgets: {spent}."]
    return []


def budget(config: Mapping[str, Any]) -> tuple[str, Any]:
    """Kind and size of an arm's budget; tokens where the config gives none."""
    given = [(key, config[f"budget.{key}"]) for key in KEYS if config.get(f"budget.{key}") is not None]
    return given[0] if given else ("tokens", None)


def span(ends: Sequence[str]) -> str:
    """Both ends in words, or one where they are the same."""
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
