"""What a proof of concept's report decides, and what it says where the intervals allow no decision."""

import csv
import json
from pathlib import Path

import pytest
from proofs_of_concept import answers, candidate, form

from smallgpt.errors import UserError
from smallgpt.reporting.candidates import candidates, decide, gap
from smallgpt.reporting.decision_summary import summary
from smallgpt.reporting.decision_tables import write_decision
from smallgpt.reporting.markdown import markdown
from smallgpt.reporting.report import report
from smallgpt.reporting.study import Comparison, read_study, without_quotes


def comparison(sweep: Path) -> Comparison:
    (only,) = read_study([sweep]).comparisons
    return only


def decided(sweep: Path):
    return decide(candidates(comparison(sweep)))


def test_the_cheapest_is_recommended_where_nobody_is_certainly_better(tmp_path):
    candidate(tmp_path, "gpt", 1, {"ONNX": form(answers(380), 2.0), "ONNX int8": form(answers(380), 1.0)})
    candidate(tmp_path, "lineargpt", 1, {"ONNX": form(answers(320), 0.5)})
    found = decided(tmp_path)
    assert found.recommended is not None and found.recommended.name == "gpt, ONNX int8"
    first, *others = summary(comparison(tmp_path))
    assert first.startswith("Recommended: gpt, ONNX int8.") and "2 points" in first
    text = " ".join(others)
    assert "95.0%" in text and "Faster: lineargpt, ONNX, 0.5 times the time, accuracy -15.0 points" in text
    assert "10,000 requests a day take 100 seconds of this machine a day, 0.12%" in text
    assert "One seed was trained" in text and "seed=1,2,3" in text


def test_of_those_that_are_as_fast_the_smallest_is_recommended(tmp_path):
    forms = {"ONNX": form(answers(380), 1.0), "ONNX int8": form(answers(380), 1.02, disk_bytes=700_000)}
    candidate(tmp_path, "gpt", 1, forms | {"ONNX int4": form(answers(380), 1.2, disk_bytes=400_000)})
    found = decided(tmp_path)
    assert found.recommended is not None and found.recommended.form == "ONNX int8"
    assert not any(sentence.startswith("Warning") for sentence in summary(comparison(tmp_path)))


def test_a_busy_machine_is_warned_of(tmp_path):
    times = {"median": 0.02, "low": 0.01, "high": 0.05}
    candidate(
        tmp_path,
        "gpt",
        1,
        {"ONNX": form(answers(380), 1.0), "ONNX int8": form(answers(380), 1.0, answer_seconds=times)},
    )
    (warning,) = [each for each in summary(comparison(tmp_path)) if each.startswith("Warning")]
    assert "busy while it timed gpt, ONNX int8:" in warning


def test_a_question_stands_in_the_command_as_it_was_typed():
    assert without_quotes(r"poc.question='What\'s best, or not?'") == "poc.question=What's best, or not?"
    assert without_quotes("optimizer.lr='1'") == "optimizer.lr='1'"


def test_no_recommendation_where_the_examples_cannot_tell(tmp_path):
    # each is wrong where the other is right: far apart for so few examples
    candidate(tmp_path, "gpt", 1, {"ONNX": form(answers(45, 50), 2.0)})
    candidate(tmp_path, "lineargpt", 1, {"ONNX": form(answers(45, 50, from_the_end=True), 1.0)})
    assert decided(tmp_path).recommended is None
    first, *others = summary(comparison(tmp_path))
    assert first.startswith("No recommendation yet: 2 candidates were tried, and of none can it be said")
    (settle,) = [sentence for sentence in others if sentence.startswith("To settle between")]
    assert "held-out examples (there are 50)" in settle


def test_seeds_that_differ_take_a_recommendation_back(tmp_path):
    for seed, ours, theirs in ((1, 380, 300), (2, 340, 390), (3, 390, 340)):
        candidate(tmp_path, "gpt", seed, {"ONNX": form(answers(ours), 1.0)})
        candidate(tmp_path, "lineargpt", seed, {"ONNX": form(answers(theirs), 2.0)})
    one, other = candidates(comparison(tmp_path))
    found = gap(one, other)
    # paired over the seeds: gaps of 20, -12.5 and 12.5 points, whose t interval alone is 42 points to either side
    assert found.value == pytest.approx(20 / 300) and found.high - found.low > 0.8
    assert decided(tmp_path).recommended is None
    assert "One seed" not in " ".join(summary(comparison(tmp_path)))


def test_seeds_that_one_alone_has_prove_nothing(tmp_path):
    for seed in (1, 2, 3):
        candidate(tmp_path, "gpt", seed, {"ONNX": form(answers(380), 1.0)})
    candidate(tmp_path, "lineargpt", 1, {"ONNX": form(answers(300), 0.5)})
    one, other = candidates(comparison(tmp_path))
    assert (gap(one, other).low, gap(one, other).high) == (-1, 1)
    assert decided(tmp_path).recommended is None


@pytest.mark.parametrize(
    ("more", "n", "message"),
    [({"margin": 0.05}, 400, "lineargpt: poc.margin is not"), ({}, 300, "lineargpt: poc.scored_examples is not")],
)
def test_candidates_are_asked_the_same(tmp_path, more, n, message):
    candidate(tmp_path, "gpt", 1, {"ONNX": form(answers(280), 1.0)})
    candidate(tmp_path, "lineargpt", 1, {"ONNX": form(answers(280, n), 1.0)}, **more)
    with pytest.raises(UserError, match=message):
        candidates(comparison(tmp_path))


def test_equal_answers_to_few_examples_prove_little(tmp_path):
    candidate(tmp_path, "gpt", 1, {"ONNX": form(answers(9, 10), 2.0), "ONNX int8": form(answers(9, 10), 1.0)})
    one, other = candidates(comparison(tmp_path))
    assert gap(one, other).value == 0 and gap(one, other).high > 0.1
    many = tmp_path / "many"
    candidate(many, "gpt", 1, {"ONNX": form(answers(900, 1000), 2.0), "ONNX int8": form(answers(900, 1000), 1.0)})
    one, other = candidates(comparison(many))
    assert gap(one, other).high < 0.01


LIMITS = {
    "min_accuracy": 0.9,
    "max_latency_ms": 30,
    "max_answer_ms": 50,
    "max_memory_mb": 300,
    "max_disk_mb": 5,
    "max_hours": 1,
}


def test_each_limit_is_kept_or_not(tmp_path):
    forms = {
        "PyTorch": form(answers(384), 2.0, memory={"bytes": 412e6}),
        "ONNX": form(answers(384), 2.0),
        "ONNX int8": form(answers(364), 1.0),
        "ONNX int4": form(answers(300), 1.0, disk_bytes=6e6, memory={"bytes": None, "error": "killed"}),
    }
    candidate(tmp_path, "gpt", 1, forms, limits=LIMITS)
    torch, graph, int8, int4 = candidates(comparison(tmp_path))
    assert torch.verdict == "fails" and torch.reasons == "memory 412 MB, limit 300"
    assert graph.verdict == "passes" and graph.reasons == ""
    assert int8.verdict == "cannot tell" and int8.reasons.startswith("accuracy 91.0% (")
    assert int4.verdict == "fails" and "accuracy 75.0%" in int4.reasons and "disk 6 MB, limit 5" in int4.reasons
    first, *others = summary(comparison(tmp_path))
    assert first == "Recommended: gpt, ONNX. It alone keeps every limit, for certain."
    text = " ".join(others)
    assert "Out: gpt, PyTorch (memory 412 MB, limit 300); gpt, ONNX int4" in text
    assert "To tell whether gpt, ONNX int8 reaches 90.0%: about " in text


def test_nobody_keeps_the_limits(tmp_path):
    candidate(tmp_path, "gpt", 1, {"ONNX": form(answers(300), 40.0)}, limits=LIMITS)
    assert summary(comparison(tmp_path))[0] == "No candidate keeps every limit."


def test_the_report_is_one_page_with_all_of_it(tmp_path):
    for seed in (1, 2):
        forms = {"ONNX": form(answers(380 + seed), 2.0), "ONNX int8": form(answers(370), 1.0, disk_bytes=700_000)}
        candidate(tmp_path, "gpt", seed, forms, joules=3600.0, price_per_hour=2.0)
        candidate(tmp_path, "lineargpt", seed, forms, price_per_hour=2.0)
    study = read_study([tmp_path])
    made = report(study, tmp_path)
    assert made["winner"][0] == summary(study.comparisons[0])[0]
    page = (tmp_path / "report.html").read_text()
    for text in (
        "Which one sorts our tickets?",
        "The candidates against your limits",
        "What serving costs",
        "not told",
    ):
        assert text in page
    assert "it is &lt;b&gt;broken&lt;/b&gt;" in page and "<b>broken</b>" not in page
    assert "crows_pairs_english, share of pairs" in page and "price a day" in page and "1 Wh" in page
    for name in ("decision_answer", "decision_disk", "decision_confusion"):
        assert (tmp_path / "figures" / f"{name}.png").exists()
    assert not (tmp_path / "figures" / "decision_memory.png").exists()  # all of them take the same
    record = json.loads((tmp_path / "results.json").read_text())
    assert record["summary"] == summary(study.comparisons[0]) and record["question"] == "Which one sorts our tickets?"
    with (tmp_path / "candidates.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["candidate"] for row in rows] == [each["candidate"] for each in record["candidates"]]
    assert float(rows[0]["accuracy"]) == pytest.approx((381 + 382) / 800) and rows[0]["seeds"] == "2"
    assert "has a validation loss" not in markdown(study)


def test_each_of_several_data_has_its_decision(tmp_path):
    for data, right in (("mail", 380), ("tickets", 300)):
        candidate(tmp_path, "gpt", 1, {"ONNX": form(answers(right), 1.0)}, data=data)
    write_decision(read_study([tmp_path]), tmp_path)
    records = [json.loads((tmp_path / f"data{number}_results.json").read_text()) for number in (1, 2)]
    assert [record["candidates"][0]["accuracy"] for record in records] == [0.95, 0.75]
    assert (tmp_path / "data2_candidates.csv").exists() and not (tmp_path / "results.json").exists()
