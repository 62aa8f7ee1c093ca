"""Ranking of arms by loss: the best with their baselines are in the figures, the others are folded."""

from functools import lru_cache

from smallgpt.reporting.arms import Arm
from smallgpt.reporting.statistics import compare_arms, mean
from smallgpt.reporting.study import Comparison

MOST_ARMS = 10
"""Arms that a figure can tell apart, and that a table shows at once."""


@lru_cache(maxsize=8)
def ranked(comparison: Comparison) -> list[Arm]:
    """Arms by their mean loss, the lowest first; those without a loss last."""

    def place(arm: Arm) -> tuple[bool, float]:
        losses = comparison.losses(arm).values()
        return (False, mean(list(losses)).value) if losses else (True, 0.0)

    return sorted(comparison.arms, key=place)


@lru_cache(maxsize=8)
def shown_arms(comparison: Comparison) -> list[Arm]:
    """Arms of the figures, ranked: all, or of many those that `label=` names, the best, and what these beat."""
    order = ranked(comparison)
    if len(order) <= MOST_ARMS:
        return order
    best, rival = answer(comparison)
    first = [arm for arm in order if arm.is_labelled] + [each for each in (best, rival) if each]
    chosen = {arm.label for arm in first}
    for arm in order:
        if len(chosen) >= MOST_ARMS:
            break
        chosen.add(arm.label)
    return [arm for arm in order if arm.label in chosen]


def others_last(comparison: Comparison) -> list[Arm]:
    """All arms, those of the figures first."""
    first = shown_arms(comparison)
    return [*first, *[arm for arm in ranked(comparison) if arm not in first]]


def answer(comparison: Comparison) -> tuple[Arm | None, Arm | None]:
    """The arm with the lowest loss and what it is held against: its baseline, or of a baseline the next that has it."""
    scored = [arm for arm in ranked(comparison) if comparison.losses(arm)]
    if not scored:
        return None, None
    best = next((arm for arm in lowest_arms(comparison) if arm in comparison.references), scored[0])
    if best not in comparison.references:
        return best, comparison.baseline_of(best)
    gaps = compare_arms(comparison)
    same = lowest_arms(comparison)
    rivals = [arm for arm in scored if comparison.baseline_of(arm) is best and arm.label in gaps and arm not in same]
    return best, rivals[0] if rivals else None


def lowest_arms(comparison: Comparison) -> list[Arm]:
    """Arms whose mean loss is the lowest; several where they are one model."""
    scored = [(arm, list(losses.values())) for arm in ranked(comparison) if (losses := comparison.losses(arm))]
    return [arm for arm, losses in scored if mean(losses).value == mean(scored[0][1]).value]
