"""Sentences about tuned axes: on what values were chosen, on what they are reported, where more should be tried."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from smallgpt.errors import shown
from smallgpt.reporting.arms import Arm
from smallgpt.reporting.jobs import ReportedJob, read_jobs
from smallgpt.reporting.naming import short_names
from smallgpt.reporting.searches import sweeper_of
from smallgpt.reporting.statistics import SPLITS
from smallgpt.reporting.study import Comparison
from smallgpt.reporting.tuning import Tuning

LONGER = 1.5  # trainings over those that chose a rate, from where its best value is clearly lower


def tuning_notes(comparison: Comparison) -> list[str]:
    """Sentences on what chose the tuned values, on what the arms are reported, and where more should be tried."""
    tuned = [(arm, arm.tuning) for arm in comparison.arms if arm.tuning]
    if not tuned:
        return []
    short = short_names(comparison.tuned_keys)
    split = SPLITS[comparison.split]
    found = [
        f"Each arm is reported at its own best {', '.join(short.values())} of those tried, by mean validation loss."
    ]
    for names, (chosen_on, reported_on) in alike({arm.label: seeds_of(arm, tuning) for arm, tuning in tuned}).items():
        found.append(f"{names}: chosen on {chosen_on}; the {split} loss is of {reported_on}.")
    if comparison.split == "val" and any(not tuning.other_seeds for _, tuning in tuned):
        found.append(
            "A loss that did the choosing is a little lower than that of other seeds: run the chosen values with more."
        )
    return found


def edge_warnings(comparison: Comparison) -> list[str]:
    """Warnings of best values beyond which, on one side, nothing was tried."""
    short = short_names(comparison.tuned_keys)
    found: dict[str, list[str]] = {}
    for arm in comparison.arms:
        for key, value in (arm.tuning.edges if arm.tuning else {}).items():
            found.setdefault(short[key], []).append(f"{shown(value)} of {arm.label}")
    return [
        f"Warning: the best {name} is at the edge of those tried, a value beyond it may be better: {', '.join(arms)}."
        for name, arms in found.items()
    ]


def length_warnings(comparison: Comparison) -> list[str]:
    """Warnings of values that `hydra.sweeper.tuned=` or `front=` took from a sweep of shorter trainings.

    The best rate falls with the number of tokens, about as its power of -0.32 (arXiv 2409.19913), and not by as much in
    each arm: one chosen on short trainings can decide a comparison of long ones.
    """
    jobs = [job for arm in comparison.arms for job in arm.jobs]
    found = []
    for sweep in dict.fromkeys(job.run_dir.parent for job in jobs):
        sweeper = sweeper_of(sweep)
        key = next((key for key in ("tuned", "front") if sweeper.get(key)), None)
        if key is None or not (earlier := Path(sweeper["cwd"], sweeper[key])).is_dir():
            continue
        chosen_on = most_tokens(read_jobs(earlier))
        trained = most_tokens(job for job in jobs if job.run_dir.parent == sweep)
        if chosen_on and trained > LONGER * chosen_on:
            found.append(
                f"Warning: hydra.sweeper.{key}={sweeper[key]} chose on {chosen_on:,} tokens, these trainings have "
                f"{trained:,}: the best rate of a longer training is lower, so try half of it too, in every arm."
            )
    return found


def most_tokens(jobs: Iterable[ReportedJob]) -> int:
    """Tokens of the longest of some trainings; 0 where none has a number."""
    return max((job.section("train").get("tokens") or 0 for job in jobs), default=0)


def seeds_of(arm: Arm, tuning: Tuning) -> tuple[str, str]:
    """Words for the seeds that chose, and for those that are reported."""
    chosen = seeds_text(tuning.seeds) if tuning.seeds else "each value's own seeds, for none has all values"
    reported = [job.seed for job in arm.jobs]
    return chosen, seeds_text(reported) if reported != tuning.seeds else "the same"


def seeds_text(seeds: Sequence[Any]) -> str:
    """Seeds in words."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def alike(sentences: Mapping[str, Any]) -> dict[str, Any]:
    """Names of what is said of several, joined."""
    names: dict[Any, list[str]] = {}
    for name, said in sentences.items():
        names.setdefault(said, []).append(name)
    return {", ".join(together): said for said, together in names.items()}
