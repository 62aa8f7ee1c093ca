"""What the models of a study know, read from the section `evaluation` of their results."""

from dataclasses import dataclass
from typing import Literal

from smallgpt.reporting.arms import Arm
from smallgpt.reporting.statistics import mean
from smallgpt.reporting.study import Comparison


@dataclass(frozen=True)
class Question:
    """What is read of an evaluation: a task's accuracy, or the bits per byte of a task's texts or a corpus."""

    part: Literal["tasks", "corpora"]
    label: str
    measure: Literal["accuracy", "bits_per_byte"]
    shares: bool = False
    """The accuracy is a share of pairs, of which neither more nor less is better."""

    @property
    def title(self) -> str:
        if self.measure == "bits_per_byte":
            return f"{self.label} ({'task, ' if self.part == 'tasks' else ''}bits per byte)"
        return f"{self.label} (share)" if self.shares else self.label

    @property
    def better(self) -> Literal["less", "more", "neither"]:
        if self.measure == "bits_per_byte":
            return "less"
        return "neither" if self.shares else "more"


@dataclass(frozen=True)
class Answer:
    """Answer of an arm to a question."""

    value: float
    low: float
    high: float
    """Ends of the 95 % interval over seeds, or over items where there is one seed; the value where there is none."""
    seeds: int
    says: str
    """`chance` or `untrained`: what no seed's result can be told from."""
    above: bool
    """It is higher than chance, and that is certain on some seed."""

    @property
    def text(self) -> str:
        half = (self.high - self.low) / 2
        spread = f" ± {half:.3f}" if self.high > self.low or self.seeds > 1 else ""
        return f"{self.value:.3f}{spread}{f', {self.says}' if self.says else ''}"


def questions(comparison: Comparison) -> list[Question]:
    """What any arm was asked: accuracies first."""
    found: dict[Question, None] = {}
    for arm in comparison.arms:
        for evaluation in arm.found("evaluation").values():
            for part in ("tasks", "corpora"):
                for label, entry in evaluation.get(part, {}).items():
                    if "accuracy" in entry:
                        found[Question(part, label, "accuracy", "by" in entry)] = None
                    if "bits_per_byte" in entry:
                        found[Question(part, label, "bits_per_byte")] = None
    return sorted(found, key=lambda question: question.measure)


def answers_by_seed(arm: Arm, question: Question) -> dict[int | None, float]:
    """Values that answer a question, by seed."""
    return arm.found("evaluation", question.part, question.label, question.measure)


def answer(arm: Arm, question: Question) -> Answer | None:
    """Answer of an arm over its seeds, None where it was not asked."""
    entries = list(arm.found("evaluation", question.part, question.label).values())
    entries = [entry for entry in entries if entry.get(question.measure) is not None]
    if not entries:
        return None
    score = mean([entry[question.measure] for entry in entries])
    of_items = entries[0].get("interval" if question.measure == "accuracy" else "bits_per_byte_interval")
    half = score.half_width or 0.0
    low, high = of_items if score.n == 1 and of_items else (score.value - half, score.value + half)
    says, above = "", False
    if question.measure == "accuracy":
        guesses = [entry["at_chance"] for entry in entries]
        blank = [entry.get("over_untrained", {}).get("verdict") == "no difference" for entry in entries]
        says = "chance" if all(guesses) else "untrained" if all(blank) else ""
        above = not all(guesses) and score.value > sum(entry["chance"] for entry in entries) / len(entries)
    return Answer(score.value, low, high, score.n, says, above)


def references(comparison: Comparison, question: Question) -> dict[str, float]:
    """Means over all results: what guessing gives, the shortest option, a model that was not trained."""
    entries = [
        entry
        for arm in comparison.arms
        for entry in arm.found("evaluation", question.part, question.label).values()
        if entry.get(question.measure) is not None
    ]
    values = {"untrained": [entry.get("untrained", {}).get(question.measure) for entry in entries]}
    if question.measure == "accuracy":
        values["chance"] = [entry.get("chance") for entry in entries]
        values["shortest option"] = [entry.get("shortest") for entry in entries]
    known = {name: [value for value in found if value is not None] for name, found in values.items()}
    return {name: sum(found) / len(found) for name, found in known.items() if found}
