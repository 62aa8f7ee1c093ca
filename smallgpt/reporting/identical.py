"""Arms under different names that are one model, such as ConvGPT with kernel 1 and LinearGPT."""

from functools import lru_cache

from smallgpt.reporting.arms import Arm
from smallgpt.reporting.study import Comparison

COSTS = ("parameters", "training_flops_per_token", "cache_bytes_per_token")


@lru_cache(maxsize=8)
def identical(comparison: Comparison) -> list[list[Arm]]:
    """Arms in groups, alone or together with those that cost the same and whose losses are equal to the last bit."""
    groups: list[list[Arm]] = []
    for arm in comparison.arms:
        together = next((group for group in groups if coincide(comparison, arm, group[0])), None)
        if together is None:
            groups.append([arm])
        else:
            together.append(arm)
    return groups


def coincide(comparison: Comparison, one: Arm, other: Arm) -> bool:
    """Whether two arms are one model: equal costs, and equal losses at every validation of the seeds that both have."""
    ours, theirs = comparison.losses(one), comparison.losses(other)
    common = ours.keys() & theirs.keys()
    if not common or any(ours[seed] != theirs[seed] for seed in common):
        return False
    if any(one.number("cost", key) != other.number("cost", key) for key in COSTS):
        return False
    curves = [
        {job.seed: [(row.get("tokens"), row["val/loss"]) for row in job.curve] for job in arm.jobs}
        for arm in (one, other)
    ]
    return all(curves[0][seed] == curves[1][seed] for seed in common)


def first_of_each(comparison: Comparison) -> dict[str, str]:
    """First arm that is the same model, by the labels of all arms."""
    return {arm.label: group[0].label for group in identical(comparison) for arm in group}
