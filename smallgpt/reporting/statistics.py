"""Means over seeds and what can be said of their differences. The tests themselves are scipy's."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from statistics import stdev
from typing import Any, Literal

from smallgpt.reporting.identical import first_of_each
from smallgpt.reporting.study import Comparison

LEVEL = 0.95
SPLITS = {"val": "validation", "test": "test"}


@dataclass(frozen=True)
class Mean:
    """Mean of scores over seeds."""

    value: float
    half_width: float | None
    """Half of the 95 % t interval; None for one value."""
    n: int


@dataclass(frozen=True)
class Difference:
    """A score of an arm less that of the baseline."""

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    """Two-sided; `compare` corrects it for the number of arms."""
    kind: Literal["paired", "unpaired", "identical", "untested"] = "untested"
    n: int = 0
    """Seeds that both have, or for the unpaired test the fewer of the two."""
    better: Literal["less", "more", "neither"] = "less"
    """Scores that are better when they are less, or more."""

    @property
    def verdict(self) -> str:
        """What may be concluded."""
        if self.kind == "identical":
            return "identical"
        if self.low is None or self.high is None or self.p is None:
            return "one seed: no test"
        if self.low <= 0 <= self.high:
            return "no difference"
        if self.p > 1 - LEVEL:  # corrected for the number of comparisons, as the interval is not
            return "not certain"
        if self.better == "neither":
            return "lower" if self.value < 0 else "higher"
        return "better" if (self.value < 0) == (self.better == "less") else "worse"


def mean(values: Sequence[float]) -> Mean:
    """The mean with its t interval."""
    average = sum(values) / len(values)
    if len(values) < 2:
        return Mean(average, None, len(values))
    return Mean(average, t_quantile(len(values) - 1) * stdev(values) / len(values) ** 0.5, len(values))


@cache
def t_quantile(freedom: int) -> float:
    """Half of the 95 % interval of a t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def difference(arm: dict[int | None, float], baseline: dict[int | None, float]) -> Difference:
    """Difference of scores by seed, paired over the seeds that both have.

    Where fewer than two seeds are common, but each has two or more, Welch's test of unpaired samples takes its place.
    """
    common = [seed for seed in arm if seed in baseline]
    ours, theirs = [arm[seed] for seed in common], [baseline[seed] for seed in common]
    if ours and ours == theirs:
        return Difference(0.0, kind="identical", n=len(common))
    gap = sum(arm.values()) / len(arm) - sum(baseline.values()) / len(baseline)
    if len(common) < 2 and min(len(arm), len(baseline)) < 2:
        return Difference(ours[0] - theirs[0] if common else gap, n=len(common))
    from scipy import stats

    if len(common) >= 2:
        gaps = [a - b for a, b in zip(ours, theirs, strict=True)]
        gap = sum(gaps) / len(gaps)
        if len(set(gaps)) == 1:  # scipy divides by their spread
            return Difference(gap, gap, gap, 0.0, "paired", len(common))
        test, kind, n = stats.ttest_rel(ours, theirs), "paired", len(common)
    else:
        first, second = list(arm.values()), list(baseline.values())
        if sorted(first) == sorted(second):
            return Difference(0.0, kind="identical", n=len(first))
        test, kind, n = stats.ttest_ind(first, second, equal_var=False), "unpaired", min(len(first), len(second))
    interval = test.confidence_interval(LEVEL)
    return Difference(gap, float(interval.low), float(interval.high), float(test.pvalue), kind, n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction; scipy has only corrections of the false discovery rate."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, most = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        most = max(most, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = most
    return corrected


def corrected(gaps: Sequence[Difference], tests: Sequence[Hashable]) -> list[Difference]:
    """The differences with p corrected for the number of tests; those of one test, named in `tests`, count once."""
    distinct = {test: gap.p for gap, test in zip(gaps, tests, strict=True) if gap.p is not None}
    p_values = dict(zip(distinct, holm(list(distinct.values())), strict=True))
    return [gap if gap.p is None else replace(gap, p=p_values[test]) for gap, test in zip(gaps, tests, strict=True)]


@lru_cache(maxsize=8)
def compare_arms(comparison: Comparison) -> dict[str, Difference]:
    """The loss of each arm against its baseline, by the arm's label, with p corrected for the number of comparisons."""
    found, tests, first = {}, [], first_of_each(comparison)
    for arm in comparison.arms:
        baseline = comparison.baseline_of(arm)
        if baseline and comparison.losses(arm) and comparison.losses(baseline):
            found[arm.label] = difference(comparison.losses(arm), comparison.losses(baseline))
            tests.append((first[arm.label], first[baseline.label]))
    return dict(zip(found, corrected(list(found.values()), tests), strict=True))


def undominated(
    rows: Sequence[dict[str, Any]], is_better: Callable[[dict[str, Any], dict[str, Any]], bool], score: str = "loss"
) -> list[dict[str, Any]]:
    """The Pareto front: rows that are certainly better than what costs less, in the order of cost."""
    front: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: (row["cost"], row[score])):
        if not front or is_better(row, front[-1]):
            front.append(row)
    return front


def winner(comparison: Comparison) -> str:
    """Sentence that says which arm has the lowest loss, and how sure that is."""
    split = SPLITS[comparison.split]
    scored = [(mean(list(scores.values())), arm) for arm in comparison.arms if (scores := comparison.losses(arm))]
    if not scored:
        return f"No job has a {split} loss, so no arm is the best."
    scored.sort(key=lambda pair: pair[0].value)
    lowest = scored[0][0]
    best = [arm for score, arm in scored if score.value == lowest.value]
    rest = [(score, arm) for score, arm in scored if score.value > lowest.value]
    names = " and ".join(arm.label for arm in best)
    says = f"{split} loss {mean_with_interval(lowest)} ({'one seed' if lowest.n == 1 else f'{lowest.n} seeds'})"
    if len(scored) == 1:
        return f"{names}: {says}. There is nothing to compare it with."
    if not rest:
        return f"{names} are identical: {says}."
    gaps = compare_arms(comparison)
    have = "has" if len(best) == 1 else "have, identically,"
    baseline = next((arm for arm in best if arm in comparison.references), None)
    if baseline is None:
        over, gap = comparison.baseline_of(best[0]), gaps.get(best[0].label)
        than = f"; against the baseline {over.label}: {in_words(gap)}" if gap and over else ""
        return f"{names} {have} the lowest {says}{than}."
    rest = [(score, arm) for score, arm in rest if comparison.baseline_of(arm) is baseline and arm.label in gaps]
    second = [arm.label for score, arm in rest if score.value == rest[0][0].value]
    following = f" Next: {' and '.join(second)}, {in_words(gaps[second[0]])}." if second else ""
    return f"The baseline {names} {have} the lowest {says}.{following}"


def in_words(gap: Difference) -> str:
    """Difference as a part of a sentence."""
    if gap.kind == "identical":
        return "identical"
    size = f"{gap.value:+.4f}"
    if gap.low is None or gap.high is None or gap.p is None:
        return f"{size}, on one seed, so this may be chance"
    words = {"no difference": "no difference that the seeds can show", "not certain": "not certain with these seeds"}
    says = words.get(gap.verdict, gap.verdict)
    return f"{size} (95 % interval {gap.low:+.4f} to {gap.high:+.4f}, p = {p_text(gap.p)}): {says}"


def p_text(p: float) -> str:
    """Probability with two digits."""
    return "<0.0001" if p < 1e-4 else f"{p:.2g}"


def mean_with_interval(score: Mean | None) -> str:
    """Mean with half of its interval, where there is one."""
    if score is None:
        return ""
    return f"{score.value:.4f}" if score.half_width is None else f"{score.value:.4f} ± {score.half_width:.4f}"
