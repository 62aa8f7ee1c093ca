"""The measures against values worked out by hand, or by another formula."""

import json
import math
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from smallgpt.evaluation import measures
from smallgpt.evaluation.paired_proportions import paired_interval
from smallgpt.evaluation.records import ItemRecord, TextRecord


def item(number: int = 0, lls: tuple[float, ...] = (-1.0, -2.0), gold: int = 0, **changes: Any) -> ItemRecord:
    options = changes.pop("options", tuple("abcd"[: len(lls)]))
    tokens = changes.pop("tokens", (1,) * len(lls))
    return ItemRecord(number, options, gold, lls, tokens, changes.pop("scored", options), **changes)


def answered(right: str) -> list[ItemRecord]:
    """Items answered rightly (1) or wrongly (0), in order."""
    return [item(i, gold=0 if hit == "1" else 1) for i, hit in enumerate(right)]


def texts(bits: list[float], **changes: Any) -> list[TextRecord]:
    """Documents of 100, 200, ... bytes with these bits per byte."""
    sizes = [100 * (i + 1) for i in range(len(bits))]
    return [
        TextRecord(i, -b * n * math.log(2), n, n // 4, **changes)
        for i, (b, n) in enumerate(zip(bits, sizes, strict=True))
    ]


def test_wilson_interval() -> None:
    found = measures.rate([True] * 7 + [False] * 3)
    assert (found.value, found.n) == (0.7, 10)
    assert found.interval == pytest.approx([0.3968, 0.8922], abs=1e-4)
    assert found.standard_error == pytest.approx(math.sqrt(0.7 * 0.3 / 10))
    none = measures.rate([False] * 10)
    assert none.low == 0 and none.high == pytest.approx(1.96**2 / (10 + 1.96**2), abs=1e-4)
    with pytest.raises(ValueError, match="nothing"):
        measures.rate([])


def test_of_equal_options_the_first_is_taken() -> None:
    tie = item(lls=(-2.0, -1.0, -1.0), gold=1)
    assert measures.accuracy([tie]).value == 1
    assert measures.accuracy([replace(tie, gold=2)]).value == 0
    even = item(lls=(-2.0, -4.0), options=("ab", "abcd"), gold=1)
    assert measures.accuracy_by_characters([even]).value == 0


def test_lengths_in_characters_and_in_bytes() -> None:
    items = [item(lls=(-1.8, -1.0), options=("ab", "日"), gold=1)]  # -0.9, -1 a character; -0.9, -0.33 a byte
    assert measures.accuracy(items).value == 1
    assert measures.accuracy_by_characters(items).value == 0
    assert measures.accuracy_by_bytes(items).value == 1


def test_options_of_a_gap_have_no_length() -> None:
    gap = item(1, scored=(" was big.", " was big."))
    scores = measures.score_items([item(0), gap])
    assert scores["accuracy"] == 1
    for key in ("accuracy_by_characters", "accuracy_by_bytes"):
        assert scores[key] is None and scores[f"{key}_interval"] is None
    # -1/9 + 2/9 for the gap and -1 + 2 for the other
    assert scores["margin"] == pytest.approx((1 / 9 + 1) / 2)


def test_margin_is_a_byte_and_against_the_best_other() -> None:
    items = [item(0, (-4.0, -6.0, -9.0), options=("aa", "bb", "ccc")), item(1, (-3.0, -1.0), gold=0)]
    found = measures.margin(items)
    assert found.value == pytest.approx((1.0 + -2.0) / 2)
    error = 3 / math.sqrt(2) / math.sqrt(2)  # standard deviation of 1 and -2 over the root of 2
    assert found.standard_error == pytest.approx(error)
    assert found.interval == pytest.approx([-0.5 - 1.96 * error, -0.5 + 1.96 * error])
    assert measures.margin(items[:1]) == measures.Average(pytest.approx(1.0), None, None)
    nothing_after = item(scored=("", ""), lls=(0.0, 0.0))
    assert measures.margin([nothing_after]).value == 0


def test_what_needs_no_model() -> None:
    items = [
        item(0, (-1.0, -2.0), gold=1, tokens=(1, 2)),
        item(1, (-1.0, -2.0, -3.0, -4.0), gold=1, tokens=(3, 2, 2, 5)),
        item(2, (-1.0, -2.0), gold=0, tokens=(1, 1)),
    ]
    assert measures.chance(items) == pytest.approx((1 / 2 + 1 / 4 + 1 / 2) / 3)
    assert measures.majority(items) == pytest.approx(2 / 3)
    assert measures.shortest(items) == pytest.approx((0 + 1 / 2 + 1 / 2) / 3)


def test_score_is_plain_json_and_knows_chance() -> None:
    scores = measures.score_items(answered("1100110011"))
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert (scores["accuracy"], scores["n"], scores["chance"], scores["at_chance"]) == (0.6, 10, 0.5, True)
    assert scores["accuracy_by_bytes"] == scores["accuracy_by_characters"] == 0.6
    assert scores["accuracy_by_bytes_interval"] == scores["interval"]
    assert "paper_scoring" not in scores
    sure = measures.score_items(answered("1" * 10))
    assert sure["at_chance"] is False
    json.dumps(measures.score_items([item()]), allow_nan=False)
    with pytest.raises(ValueError):
        measures.score_items([])


def test_the_papers_scores() -> None:
    items = [
        item(0, gold=0, tokens=(1, 2), faulty=(-10.0, -20.0)),
        item(1, gold=0, tokens=(1, 2), faulty=(-10.0, -5.0)),
        item(2, gold=1, tokens=(2, 2), faulty=(-10.0, -5.0)),
    ]
    paper = measures.score_items(items)["paper_scoring"]
    assert paper == {"accuracy": pytest.approx(2 / 3), "agreement_with_shortest": pytest.approx(2 / 3)}
    assert "paper_scoring" not in measures.score_items([*items, item(3)])


def test_a_model_does_not_differ_from_itself() -> None:
    items = answered("1101")
    found = measures.compare_items(items, list(reversed(items)))
    assert found == {
        "difference": 0.0,
        "interval": pytest.approx([-0.6024, 0.6024], abs=1e-4),  # 1 - 0.025 ** (1 / 4)
        "p": 1.0,
        "discordant": 0.0,
        "verdict": "no difference",
        "items_needed": None,
        "n": 4,
    }


def test_mcnemar() -> None:
    first, second = answered("1" + "0" * 9 + "1" * 10), answered("0" + "1" * 9 + "1" * 10)
    found = measures.compare_items(first, second)
    assert found["p"] == pytest.approx(2 * (1 + 10) / 2**10, abs=1e-9)  # 0.0215
    assert found["verdict"] == "better" and found["difference"] == pytest.approx(0.4)
    back = measures.compare_items(second, first)
    assert back["verdict"] == "worse" and back["difference"] == pytest.approx(-0.4)
    assert found["interval"] == pytest.approx([-end for end in reversed(back["interval"])])
    assert found["interval"][0] > 0
    few = measures.compare_items(answered("0000011"), answered("1111110"))
    assert few["p"] == pytest.approx(2 * 7 / 64) and few["verdict"] == "no difference"


@pytest.mark.parametrize("n", [7, 30, 100])
def test_the_interval_of_a_paired_difference_agrees_with_the_exact_test(n: int) -> None:
    for gained, lost in product(range(0, n + 1, 1 + n // 12), repeat=2):
        if gained + lost <= n:
            low, high = paired_interval(gained, lost, n)
            p = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
            assert (low > 0 or high < 0) == (p < 0.05), (gained, lost, low, high, p)
            assert -1 <= low <= (gained - lost) / n <= high <= 1
    assert paired_interval(4, 0, 100)[0] < 0  # p = 0.125


def test_the_interval_of_a_paired_difference_holds_the_truth_often_enough() -> None:
    n, worst = 9, 1.0
    pairs = [(gained, lost) for gained, lost in product(range(n + 1), repeat=2) if gained + lost <= n]
    tables = {pair: paired_interval(*pair, n) for pair in pairs}
    for up, down in product((0, 0.05, 0.2, 0.4, 0.6, 0.9), repeat=2):
        if up + down <= 1:
            chances = stats.multinomial(n, [up, down, 1 - up - down])
            inside = [table for table, (low, high) in tables.items() if low - 1e-9 <= up - down <= high + 1e-9]
            worst = min(worst, sum(chances.pmf([gained, lost, n - gained - lost]) for gained, lost in inside))
    assert 0.95 <= worst < 0.99
    many = paired_interval(900, 600, 10_000)  # the normal interval, where there is much
    half = 1.96 * math.sqrt((0.15 - 0.03**2) / 10_000)
    assert many == pytest.approx((0.03 - half, 0.03 + half), abs=2e-4)


def test_items_needed_for_one_point() -> None:
    n = 1000  # 300 discordant, 10 more gained than lost: one point
    first = answered("0" * 155 + "1" * 145 + "1" * (n - 300))
    second = answered("1" * 155 + "0" * 145 + "1" * (n - 300))
    found = measures.compare_items(first, second)
    assert (found["discordant"], found["verdict"]) == (0.3, "no difference")
    assert found["items_needed"] == pytest.approx(23_550, abs=5)
    equal = measures.compare_items(answered("01"), answered("10"))
    assert equal["discordant"] == 1 and equal["items_needed"] is None


@pytest.mark.parametrize("other", ["11", "1111", ""])
def test_other_items_are_refused(other: str) -> None:
    with pytest.raises(ValueError, match="not the same items: 3 and"):
        measures.compare_items(answered("111"), answered(other))
    with pytest.raises(ValueError, match="not the same items"):
        measures.compare_items(answered("111"), [*answered("11"), item(1)])


def test_bits_per_byte_weighs_documents_by_their_bytes() -> None:
    scores = measures.text_score(texts([1.0, 2.0]))
    assert scores["bits_per_byte"] == pytest.approx((1 * 100 + 2 * 200) / 300)
    assert scores["bits_per_byte_interval"] is None
    assert (scores["n"], scores["bytes"], scores["tokens"]) == (2, 300, 75)
    assert math.log2(scores["token_perplexity"]) == pytest.approx(500 / 75)
    assert "exact_match" not in scores
    with pytest.raises(ValueError, match="no text"):
        measures.text_score([])


def test_the_interval_of_bits_per_byte_of_equal_documents_is_that_of_a_mean() -> None:
    for n in (20, 400):
        bits = np.random.default_rng(1).normal(2, 0.2, n)
        scores = measures.text_score([TextRecord(i, -b * 100 * math.log(2), 100, 25) for i, b in enumerate(bits)])
        expected = stats.t.interval(0.95, n - 1, np.mean(bits), stats.sem(bits))
        assert scores["bits_per_byte_interval"] == pytest.approx(expected, rel=1e-12)
        assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert measures.text_score(texts([1.5] * 20))["bits_per_byte_interval"] == pytest.approx([1.5, 1.5])
    assert measures.text_score(texts([1.5] * 19))["bits_per_byte_interval"] is None


@pytest.mark.parametrize("n", [20, 50])
def test_the_interval_of_bits_per_byte_covers_the_truth_where_lengths_differ(n: int) -> None:
    """Short documents are harder and lengths spread over three orders of magnitude; a percentile bootstrap: 0.89."""
    rng = np.random.default_rng(0)
    sizes = np.exp(rng.normal(9, 1, 200_000))
    bits = sizes * (1.7 + 0.25 * rng.gamma(4, 0.5, len(sizes)) - 0.08 * (np.log(sizes) - 9))
    truth, draws = bits.sum() / sizes.sum(), rng.integers(0, len(sizes), (1000, n))
    intervals = [measures.ratio_interval(bits[drawn], sizes[drawn]) for drawn in draws]
    assert 0.93 < np.mean([low <= truth <= high for low, high in intervals]) < 0.975


def test_exact_match_needs_every_prompt() -> None:
    some = texts([1.0, 1.0, 1.0, 1.0], greedy=True)
    scores = measures.text_score([*some[:3], replace(some[3], greedy=False)])
    assert scores["exact_match"] == 0.75
    assert scores["exact_match_interval"] == measures.rate([True, True, True, False]).interval
    assert "exact_match" not in measures.text_score([*some[:3], replace(some[3], greedy=None)])


def test_texts_of_two_models() -> None:
    bits = [1.0, 3.0, 2.0, 1.5, 2.5] * 4
    first, second = texts(bits), texts([b - 0.1 for b in bits])
    found = measures.compare_texts(first, list(reversed(second)))
    # the documents differ by much more than the models: only pairs show it
    assert found["difference"] == pytest.approx(-0.1)
    assert found["interval"] == pytest.approx([-0.1, -0.1])
    assert (found["verdict"], found["n"]) == ("better", 20)
    assert measures.compare_texts(second, first)["verdict"] == "worse"
    same = measures.compare_texts(first, first)
    assert (same["difference"], same["interval"], same["verdict"]) == (0.0, [0.0, 0.0], "no difference")
    rounded = measures.compare_texts(first, texts([b - 1e-8 for b in bits]))
    assert rounded["verdict"] == "no difference" and rounded["interval"][1] < 0
    few = measures.compare_texts(first[:19], second[:19])
    assert few["difference"] == pytest.approx(-0.1) and few["interval"] is few["verdict"] is None
    with pytest.raises(ValueError, match="bytes differ"):
        measures.compare_texts(first, [*second[:-1], replace(second[-1], bytes=1)])
    with pytest.raises(ValueError, match="not the same"):
        measures.compare_texts(first, second[:5])
