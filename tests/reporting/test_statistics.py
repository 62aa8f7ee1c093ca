"""Means, intervals and tests against published values, and what is concluded from them."""

import math
import random
from dataclasses import replace

import pytest
from sweeps import COSTS, job

from smallgpt.reporting.statistics import compare_arms, difference, holm, mean, winner
from smallgpt.reporting.study import read_study

# W. S. Gosset, "The probable error of a mean" (1908): hours of sleep gained with two drugs, ten patients
DEXTRO = dict(enumerate([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]))
LAEVO = dict(enumerate([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]))


def test_the_interval_of_a_mean_is_students():
    score = mean(list(LAEVO.values()))
    assert score.value == pytest.approx(2.33) and score.n == 10
    assert score.half_width == pytest.approx(1.4324, abs=1e-4)  # 2.262 * 2.0022 / sqrt(10)
    two = mean([1.0, 2.0])
    assert two.half_width == pytest.approx(12.7062 * math.sqrt(0.5) / math.sqrt(2), abs=1e-4)
    assert mean([3.0]).half_width is None
    assert mean([3.0, 3.0]).half_width == 0


def test_the_paired_test_gives_gossets_numbers():
    gap = difference(DEXTRO, LAEVO)
    assert (gap.kind, gap.n) == ("paired", 10)
    assert gap.value == pytest.approx(-1.58)
    assert gap.p == pytest.approx(0.00283, abs=1e-5)
    assert (gap.low, gap.high) == (pytest.approx(-2.4599, abs=1e-4), pytest.approx(-0.7001, abs=1e-4))
    assert gap.verdict == "better"
    assert difference(LAEVO, DEXTRO).verdict == "worse"


def test_without_common_seeds_welchs_test_is_used():
    other = {seed + 100: score for seed, score in LAEVO.items()}
    gap = difference(DEXTRO, other)
    assert gap.kind == "unpaired"
    assert gap.p == pytest.approx(0.07939, abs=1e-5)  # R: t.test(extra ~ group, sleep)
    assert (gap.low, gap.high) == (pytest.approx(-3.3655, abs=1e-4), pytest.approx(0.2055, abs=1e-4))
    assert gap.verdict == "no difference"


def test_only_seeds_that_both_have_are_paired():
    gap = difference({1: 3.0, 2: 3.5, 3: 9.0}, {0: 1.0, 1: 4.0, 2: 4.0})
    assert gap.n == 2 and gap.value == pytest.approx(-0.75)


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ({1: 3.0}, {1: 4.0}, "one seed: no test"),
        ({1: 3.0}, {2: 4.0}, "one seed: no test"),
        ({1: 3.0}, {1: 4.0, 2: 4.1}, "one seed: no test"),
        ({1: 3.0}, {1: 3.0}, "identical"),
        ({1: 3.1, 2: 3.2}, {1: 3.1, 2: 3.2}, "identical"),
        ({1: 3.0, 2: 3.5}, {1: 4.0, 2: 4.5}, "better"),  # a constant gap has no spread to divide by
        ({1: 3.1, 2: 3.2}, {1: 3.2, 2: 3.1}, "no difference"),
    ],
)
def test_verdicts(ours: dict, theirs: dict, verdict: str):
    assert difference(ours, theirs).verdict == verdict


def test_holms_correction():
    # S. Holm (1979): the smallest of m times m, the next times m - 1, never falling, at most 1
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_variant_differs_from_itself_no_more_often_than_the_level():
    rng = random.Random(0)
    found = 0
    for trial in range(400):
        first, second = ({i: rng.gauss(4, 0.02) for i in range(5)} for _ in range(2))
        if trial % 2:
            second = {seed + 5: score for seed, score in second.items()}
        found += difference(first, second).verdict != "no difference"
    assert 8 <= found <= 32  # 20 are expected


def test_a_variant_against_itself_over_different_seeds_says_no_difference(tmp_path):
    for seed, loss in enumerate([4.01, 3.99, 4.02]):
        job(tmp_path, "gpt", seed, loss, "batch.tokens=4")
    for seed, loss in enumerate([4.00, 4.02, 3.98]):
        job(tmp_path, "gpt", seed + 3, loss, "batch.tokens=8")
    comparison = read_study([tmp_path]).comparisons[0]
    assert compare_arms(comparison)["gpt tokens=8"].verdict == "no difference"
    assert "no difference" in winner(comparison)


def test_the_correction_counts_the_arms(tmp_path):
    for seed, base in enumerate([4.0, 4.1, 4.05]):
        job(tmp_path, "gpt", seed, base)
        job(tmp_path, "lineargpt", seed, base + 0.1 + 0.01 * seed)
        job(tmp_path, "parallelgpt", seed, base + 0.2 + 0.01 * seed)
    comparison = read_study([tmp_path]).comparisons[0]
    arms = {arm.label: arm.by_seed() for arm in comparison.arms}
    alone = [difference(arms[name], arms["gpt"]).p for name in ("lineargpt", "parallelgpt")]
    both = [compare_arms(comparison)[name].p for name in ("lineargpt", "parallelgpt")]
    assert both == pytest.approx(holm(alone)) and both[1] == pytest.approx(2 * alone[1])


@pytest.mark.parametrize(
    ("losses", "says"),
    [
        ({"gpt": [4.0]}, "gpt: validation loss 4.0000 (one seed). There is nothing to compare it with."),
        ({"gpt": [4.0], "lineargpt": [4.0]}, "gpt and lineargpt are identical: validation loss 4.0000 (one seed)."),
        (
            {"gpt": [4.0], "lineargpt": [3.9]},
            "lineargpt has the lowest validation loss 3.9000 (one seed); against the baseline gpt: -0.1000, on one "
            "seed, so this may be chance.",
        ),
        (
            {"gpt": [4.0], "lineargpt": [4.5], "parallelgpt": [4.5]},
            "The baseline gpt has the lowest validation loss 4.0000 (one seed). Next: lineargpt and parallelgpt, "
            "+0.5000, on one seed, so this may be chance.",
        ),
        ({"gpt": [None]}, "No job has a validation loss, so no arm is the best."),
    ],
)
def test_the_winner_in_words(tmp_path, losses: dict, says: str):
    for variant, scores in losses.items():
        for seed, loss in enumerate(scores):
            job(tmp_path, variant, seed, loss)
    assert winner(read_study([tmp_path]).comparisons[0]) == says


def test_a_gap_that_the_correction_takes_back_is_not_certain():
    gap = difference({1: 1.0, 2: 1.1, 3: 1.05}, {1: 1.5, 2: 1.55, 3: 1.62})
    assert gap.verdict == "better"
    assert replace(gap, p=0.06).verdict == "not certain"


def test_identical_arms_are_one_test(tmp_path):
    for seed, base in enumerate([4.0, 4.1, 4.05]):
        job(tmp_path, "gpt", seed, base)
        for variant in ("lineargpt", "convgpt"):  # with kernel 1 they are one model
            job(tmp_path, variant, seed, base + 0.1 + 0.01 * seed, cost=COSTS["lineargpt"])
    comparison = read_study([tmp_path]).comparisons[0]
    losses = {arm.label: arm.by_seed() for arm in comparison.arms}
    alone = difference(losses["lineargpt"], losses["gpt"]).p
    assert [gap.p for gap in compare_arms(comparison).values()] == [alone, alone]
