"""Candidates of a proof of concept: an arm in one form each, with its accuracy, its costs and the limits that it keeps.

Accuracies are of the same held-out examples. These give one part of their uncertainty, the seeds of training another.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from smallgpt.errors import UserError
from smallgpt.reporting.arms import Arm
from smallgpt.reporting.statistics import LEVEL, mean
from smallgpt.reporting.study import Comparison

MB = 1e6
ASKED = ("limits", "margin", "batch")  # of the user, in the section of each job
SECONDS_A_DAY = 86_400
AS_FAST = 1.05  # times the time of the fastest: what is measured is not surer than that


@dataclass(frozen=True)
class Estimate:
    """Estimate with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Check:
    """Whether a candidate keeps one limit."""

    key: str
    verdict: Literal["passes", "fails", "cannot tell"]
    text: str
    """What was measured against the limit, in words."""


@dataclass(frozen=True)
class Candidate:
    """An arm in one form."""

    arm: Arm
    form: str
    sections: list[dict[str, Any]]
    """Section `poc` of each seed's result."""

    @property
    def name(self) -> str:
        return f"{self.arm.label}, {self.form}"

    @property
    def forms(self) -> list[dict[str, Any]]:
        """What each seed has found of this form."""
        return [section["forms"][self.form] for section in self.sections]

    @property
    def asked(self) -> dict[str, Any]:
        """What the user has asked; the same for all candidates."""
        return self.sections[0]

    def numbers(self, *path: str) -> list[float]:
        """Numbers under a path of keys, of the seeds that have them."""
        found = []
        for value in self.forms:
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            if isinstance(value, int | float):
                found.append(value)
        return found

    def average(self, *path: str) -> float | None:
        """Mean over the seeds of a number; None where no seed has it."""
        found = self.numbers(*path)
        return sum(found) / len(found) if found else None

    @cached_property
    def right(self) -> list[float]:
        """Share of the seeds that answer each held-out example right."""
        rows = [form["right"] for form in self.forms]
        return [sum(int(row[place]) for row in rows) / len(rows) for place in range(len(rows[0]))]

    @cached_property
    def accuracy(self) -> Estimate:
        """Accuracy; its interval has both parts, of the examples (Wilson's) and of the seeds (Student's)."""
        from scipy import stats

        n = len(self.right)
        hits = sum(self.right)
        examples = stats.binomtest(round(hits), n).proportion_ci(LEVEL, method="wilson")
        seeds = mean([sum(map(int, form["right"])) / n for form in self.forms]).half_width or 0.0
        share = hits / n
        low, high = share - math.hypot(share - examples.low, seeds), share + math.hypot(examples.high - share, seeds)
        return Estimate(share, max(0.0, low), min(1.0, high))

    @property
    def answer_seconds(self) -> float:
        """Seconds of a batch of answers."""
        return self.average("answer_seconds", "median") or math.inf

    @property
    def spread_of_answers(self) -> float | None:
        """Longer end of the interval of an answer's median time over its shorter end; the largest of the seeds."""
        pairs = zip(self.numbers("answer_seconds", "high"), self.numbers("answer_seconds", "low"), strict=True)
        return max((high / low for high, low in pairs if low > 0), default=None)

    @property
    def request_seconds(self) -> float:
        """Seconds of this machine that a request takes."""
        return self.answer_seconds / self.asked["batch"]

    @property
    def day_seconds(self) -> float:
        """Seconds of this machine that the requests of a day take."""
        return self.request_seconds * self.asked["requests_per_day"]

    @property
    def memory(self) -> float | None:
        """Peak resident memory of the process that answers, in MB."""
        found = self.numbers("memory", "bytes")
        return max(found) / MB if found else None

    @property
    def disk(self) -> float | None:
        """Size of what is deployed, in MB."""
        found = self.numbers("disk_bytes")
        return max(found) / MB if found else None

    def adapted(self, key: str) -> float | None:
        """Mean over the seeds of a number of the adaptation; None where no seed has it."""
        found = [value for section in self.sections if (value := section["adapted"].get(key)) is not None]
        return sum(found) / len(found) if found else None

    @cached_property
    def checks(self) -> list[Check]:
        """The candidate against each limit that is given."""
        return [LIMITS[key](self, key, limit) for key, limit in self.asked["limits"].items() if key in LIMITS]

    @property
    def verdict(self) -> Literal["passes", "fails", "cannot tell"]:
        """Whether it keeps all limits."""
        found = {check.verdict for check in self.checks}
        return "fails" if "fails" in found else "cannot tell" if found - {"passes"} else "passes"

    @property
    def reasons(self) -> str:
        """Limits that it does not keep, or of which nothing certain is known, in words."""
        return "; ".join(check.text for check in self.checks if check.verdict == self.verdict != "passes")


def between(low: float, high: float, limit: float) -> Literal["passes", "fails", "cannot tell"]:
    """Verdict of a range that is to lie at or below a limit."""
    return "passes" if high <= limit else "fails" if low > limit else "cannot tell"


def time_verdict(candidate: Candidate, limit: float, key: str, what: str) -> tuple[Any, str]:
    """Verdict on the interval of a median time, over all seeds, and its words."""
    low, high = (candidate.numbers(key, end) for end in ("low", "high"))
    if not low:
        return "cannot tell", f"{what} not measured"
    least, most = 1000 * min(low), 1000 * max(high)
    return between(least, most, limit), f"{what} {least:.3g} to {most:.3g} ms, limit {limit:g}"


def accuracy_check(candidate: Candidate, key: str, limit: float) -> Check:
    """Accuracy against the least that is asked."""
    found = candidate.accuracy
    text = f"accuracy {found.value:.1%} ({found.low:.1%} to {found.high:.1%}), limit {limit:.1%}"
    return Check(key, "passes" if found.low >= limit else "fails" if found.high < limit else "cannot tell", text)


def latency_check(candidate: Candidate, key: str, limit: float) -> Check:
    """Time of a token against the limit."""
    return Check(key, *time_verdict(candidate, limit, "seconds_per_token", "a token takes"))


def answer_check(candidate: Candidate, key: str, limit: float) -> Check:
    """Time of a whole answer against the limit."""
    return Check(key, *time_verdict(candidate, limit, "answer_seconds", "an answer takes"))


def amount_check(what: str, unit: str, read: Callable[[Candidate], float | None]) -> Callable[..., Check]:
    """Check of a number that has no spread of its own."""

    def check(candidate: Candidate, key: str, limit: float) -> Check:
        found = read(candidate)
        if found is None:
            return Check(key, "cannot tell", f"{what} not measured")
        return Check(key, between(found, found, limit), f"{what} {found:.3g} {unit}, limit {limit:g}")

    return check


def hours(candidate: Candidate) -> float | None:
    """Hours that the adaptation took."""
    seconds = candidate.adapted("seconds")
    return None if seconds is None else seconds / 3600


LIMITS: dict[str, Callable[[Candidate, str, float], Check]] = {
    "min_accuracy": accuracy_check,
    "max_latency_ms": latency_check,
    "max_answer_ms": answer_check,
    "max_memory_mb": amount_check("memory", "MB", lambda candidate: candidate.memory),
    "max_disk_mb": amount_check("disk", "MB", lambda candidate: candidate.disk),
    "max_hours": amount_check("adaptation", "hours", hours),
}


def candidates(comparison: Comparison) -> list[Candidate]:
    """Every arm of a proof of concept in each of its forms; none where the jobs are of another kind.

    Raises UserError where two were not asked the same.
    """
    found = []
    for arm in comparison.arms:
        sections = list(arm.found("poc").values())
        forms = dict.fromkeys(form for section in sections for form in section["forms"])
        found += [Candidate(arm, form, [section for section in sections if form in section["forms"]]) for form in forms]
    for each in found:
        for key in ASKED:
            if any(section[key] != found[0].asked[key] for section in each.sections):
                raise UserError(
                    f"{each.arm.label}: poc.{key.replace('limits', 'max_* or min_accuracy')} is not that of "
                    f"{found[0].arm.label}; candidates are compared where all were asked the same"
                )
        if {len(form["right"]) for form in each.forms} != {len(found[0].right)}:
            raise UserError(
                f"{each.arm.label}: poc.scored_examples is not that of {found[0].arm.label}; candidates are compared "
                "on the same examples"
            )
    return found


def gap(one: Candidate, other: Candidate, level: float = LEVEL) -> Estimate:
    """Accuracy of a candidate less that of another one, on the same examples and seeds.

    Of the examples it is Agresti and Min's interval of paired proportions, which counts two more pairs, so that equal
    answers to few examples prove nothing; of the seeds Student's, where there are two.
    """
    from scipy import stats

    seeds = 0.0
    ours, theirs = (
        {
            seed: section["forms"][each.form]["right"]
            for seed, section in each.arm.found("poc").items()
            if each.form in section["forms"]
        }
        for each in (one, other)
    )
    common = [seed for seed in ours if seed in theirs]
    if len(common) < min(2, max(len(ours), len(theirs))):  # as far apart as the seeds may be, which nothing tells
        return Estimate(one.accuracy.value - other.accuracy.value, -1.0, 1.0)
    pairs = [zip(ours[seed], theirs[seed], strict=True) for seed in common]
    gaps = [sum(int(a) - int(b) for a, b in place) / len(common) for place in zip(*pairs, strict=True)]
    n = len(gaps) + 2
    middle = sum(gaps) / n
    variance = (sum(each * each for each in gaps) + 1) / n - middle * middle
    examples = float(stats.norm.ppf((1 + level) / 2)) * math.sqrt(variance / n)
    by_seed = [(ours[seed].count("1") - theirs[seed].count("1")) / len(ours[seed]) for seed in common]
    if len(by_seed) > 1:
        seeds = float(stats.t.ppf((1 + level) / 2, len(by_seed) - 1) * stats.sem(by_seed))
    half = math.hypot(examples, seeds)
    value = sum(gaps) / len(gaps)
    return Estimate(value, min(value, middle - half), max(value, middle + half))


@dataclass(frozen=True)
class Decision:
    """What may be decided of a proof of concept's candidates."""

    everyone: list[Candidate]
    passing: list[Candidate]
    """Those that keep every limit for certain, the fastest first."""
    recommended: Candidate | None
    """The fastest than which no passing one is better by more than the margin, as far as the intervals allow that.

    Of those that are nearly as fast it is the smallest."""
    best: Candidate
    """The most accurate of those that pass, or of all where none passes."""
    level: float
    """Confidence of the intervals between two candidates."""

    @property
    def shown(self) -> Candidate:
        """The one that the page describes."""
        return self.recommended or self.best


def decide(found: Sequence[Candidate]) -> Decision:
    """Decides between candidates; intervals are corrected by Bonferroni's method for the candidates that differ."""
    passing = sorted((each for each in found if each.verdict == "passes"), key=lambda each: each.request_seconds)
    best = max(passing or found, key=lambda each: each.accuracy.value)
    different = len({tuple(each.right) for each in passing})
    level = 1 - (1 - LEVEL) / max(1, different - 1)
    good = [
        one
        for one in passing
        if all(gap(other, one, level).high <= one.asked["margin"] for other in passing if other is not one)
    ]
    as_fast = [one for one in good if one.request_seconds <= AS_FAST * good[0].request_seconds]
    recommended = min(as_fast, key=lambda each: each.disk or math.inf, default=None)
    return Decision(list(found), passing, recommended, best, level)
