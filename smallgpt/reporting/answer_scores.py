"""Scores of answers in a report: those of a fine-tuning, and those of what it has to beat."""

from collections.abc import Sequence

from smallgpt.reporting.arms import Arm

OF_ANSWERS = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "exact_match": "exact match",
    "f1": "F1",
    "rougeL": "ROUGE-L",
    "bleu": "BLEU",
}
"""Scores of answers, with their names."""
MAIN = ("accuracy", "f1", "rougeL")
"""Score of each kind of task by which it is told what is better."""


def main_score(arms: Sequence[Arm], split: str) -> str | None:
    """The score by which arms are compared; None where they answer nothing."""
    return next((key for key in MAIN if any(arm.by_seed(key, split) for arm in arms)), None)


def baselines(arms: Sequence[Arm]) -> list[str]:
    """Names of what the arms have to beat, such as `majority` and `4 shots`."""
    return list(dict.fromkeys(name for arm in arms for job in arm.jobs for name in job.section("baselines")))


def of_baseline(arm: Arm, name: str, key: str) -> list[float]:
    """A score of what an arm has to beat, one a seed."""
    return list(arm.found("baselines", name, key).values())
