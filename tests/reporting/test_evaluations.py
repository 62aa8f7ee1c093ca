"""What the models know, as a report of a sweep shows it."""

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from sweeps import job
from test_report import CHROMIUM, EVIL, browse

from smallgpt.reporting.evaluation_figures import evaluation_figures
from smallgpt.reporting.evaluation_tables import Table, evaluation_tables
from smallgpt.reporting.report import report
from smallgpt.reporting.statistics import difference, holm, mean
from smallgpt.reporting.study import read_study
from smallgpt.results import evaluation_numbers


def task(accuracy: float, half: float = 0.02, **more: Any) -> dict[str, Any]:
    interval = [accuracy - half, accuracy + half]
    return {
        "precision": "fp32",
        "accuracy": accuracy,
        "interval": interval,
        "n": 500,
        "margin": -0.125,
        "chance": 0.25,
        "shortest": 0.2,
        "at_chance": interval[0] <= 0.25 <= interval[1],
        "untrained": {"accuracy": 0.24},
        "over_untrained": {"verdict": "better"},
        "harness": {"acc": accuracy},
        **more,
    }


def corpus(bits: float) -> dict[str, Any]:
    interval = [bits - 0.1, bits + 0.1]
    return {"bits_per_byte": bits, "bits_per_byte_interval": interval, "n": 60, "untrained": {"bits_per_byte": 8.0}}


def tables(sweep: Path) -> list[Table]:
    return evaluation_tables(read_study([sweep]).comparisons[0])


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def bold(table: Table) -> list[str]:
    return [cell.text for row in table.rows for cell in row if cell.best]


def fill(sweep: Path) -> None:
    """Three seeds, one arm that nobody asked, and one task on which all guess."""
    for seed, noise in enumerate([0.0, 0.02, 0.01]):
        for variant, more in (("gpt", 0.0), ("lineargpt", 0.1 + noise / 2)):
            tasks = {"easy": task(0.4 + noise + more), "hard": task(0.25 + noise / 2)}
            job(sweep, variant, seed, evaluation={"tasks": tasks, "corpora": {"books": corpus(2.0 + noise - more)}})
        job(sweep, "parallelgpt", seed)


def test_a_row_an_arm_with_means_over_seeds_and_what_guessing_gives(tmp_path: Path):
    fill(tmp_path)
    known, gaps = tables(tmp_path)
    assert known.columns == ["arm", "easy", "hard", "books (bits per byte)"]
    easy, books = mean([0.4, 0.42, 0.41]), mean([1.9, 1.91, 1.905])
    assert texts(known)[0][1] == f"0.410 ± {easy.half_width:.3f}" == "0.410 ± 0.025"
    assert texts(known)[1][3] == f"1.905 ± {books.half_width:.3f}"
    assert texts(known)[0][2] == "0.255 ± 0.012, chance"
    assert texts(known)[2:] == [
        ["parallelgpt", "", "", ""],
        ["chance", "0.250", "0.250", ""],
        ["shortest option", "0.200", "0.200", ""],
        ["untrained", "0.240", "0.240", "8.000"],
    ]
    assert bold(known) == [texts(known)[1][1], texts(known)[1][3]]
    assert "No arm is above chance on: hard." in known.notes
    assert any("interval over seeds." in note for note in known.notes)
    assert {row[0] for row in texts(gaps)} == {"lineargpt"}


def test_more_accuracy_and_fewer_bits_are_better_after_holms_correction(tmp_path: Path):
    fill(tmp_path)
    _, gaps = tables(tmp_path)
    first = difference({1: 0.5, 2: 0.53, 3: 0.515}, {1: 0.4, 2: 0.42, 3: 0.41})
    second = difference({1: 1.9, 2: 1.91, 3: 1.905}, {1: 2.0, 2: 2.02, 3: 2.01})
    corrected = holm([first.p, second.p])
    easy, hard, books = texts(gaps)
    assert easy == [
        "lineargpt", "easy", f"+0.1050 [{first.low:+.4f}, {first.high:+.4f}]", f"{corrected[0]:.2g}", "better"
    ]  # fmt: skip
    assert books[2:] == [f"-0.1050 [{second.low:+.4f}, {second.high:+.4f}]", f"{corrected[1]:.2g}", "better"]
    assert hard[2:] == ["+0.0000", "", "equal on every seed"]
    assert any("for the 2 tests of this table" in note for note in gaps.notes)


def test_less_accuracy_is_worse(tmp_path: Path):
    for seed, noise in enumerate([0.0, 0.02, 0.01]):
        job(tmp_path, "gpt", seed, evaluation={"tasks": {"easy": task(0.5 + noise)}})
        job(tmp_path, "lineargpt", seed, evaluation={"tasks": {"easy": task(0.4 + 1.1 * noise)}})
    [[*_, verdict]] = texts(tables(tmp_path)[1])
    assert verdict == "worse"


def test_one_gap_on_each_seed_is_no_proof(tmp_path: Path):
    """Of 20 items two more are right on both seeds: a t test would find no spread, and p = 0."""
    for seed, right in enumerate([8, 9]):
        job(tmp_path, "gpt", seed, evaluation={"tasks": {"few": task(right / 20)}})
        job(tmp_path, "lineargpt", seed, evaluation={"tasks": {"few": task((right + 2) / 20)}})
    _, gaps = tables(tmp_path)
    assert texts(gaps)[0][2:] == ["+0.1000", "", "no test: one gap on each seed"]
    assert any(note.startswith("No test") for note in gaps.notes)


def test_one_seed_has_the_interval_of_its_items_and_no_test(tmp_path: Path):
    job(tmp_path, "gpt", 1, evaluation={"tasks": {"easy": task(0.26, 0.021)}})
    job(tmp_path, "lineargpt", 1, evaluation={"tasks": {"easy": task(0.3, 0.03)}, "corpora": {"books": corpus(2)}})
    [known] = tables(tmp_path)
    assert [row[1] for row in texts(known)[:2]] == ["0.260 ± 0.021, chance", "0.300 ± 0.030"]
    assert texts(known)[1][2] == "2.000 ± 0.100" and bold(known) == ["0.300 ± 0.030"]
    assert any("over items or documents, where there is one seed" in note for note in known.notes)


@pytest.mark.parametrize(
    ("high", "mark"),
    [
        (task(0.26), ", chance"),
        (task(0.2), ""),  # certainly below chance
        (task(0.35, over_untrained={"verdict": "no difference"}), ", untrained"),
    ],
)
def test_a_guess_is_never_the_best(tmp_path: Path, high: dict[str, Any], mark: str):
    job(tmp_path, "gpt", 1, evaluation={"tasks": {"hard": task(0.19)}})
    job(tmp_path, "lineargpt", 1, evaluation={"tasks": {"hard": high}})
    [known] = tables(tmp_path)
    assert texts(known)[1][1] == f"{high['accuracy']:.3f} ± 0.020{mark}" and bold(known) == []


def test_one_seed_above_chance_takes_the_mark_away(tmp_path: Path):
    for seed, accuracy in enumerate([0.26, 0.3]):
        job(tmp_path, "gpt", seed, evaluation={"tasks": {"hard": task(accuracy)}})
    [known] = tables(tmp_path)
    assert "chance" not in texts(known)[0][1] and not any("No arm" in note for note in known.notes)


def test_a_share_of_stereotypes_is_neither_better_nor_worse(tmp_path: Path):
    for seed, noise in enumerate([0.0, 0.02, 0.01]):
        for variant, share in (("gpt", 0.6), ("lineargpt", 0.7 + noise / 2)):
            pairs = task(share + noise, chance=0.5, by={"age": {"accuracy": 0.5}}, bits_per_byte=3.0)
            job(tmp_path, variant, seed, evaluation={"tasks": {"pairs": pairs}})
    known, gaps = tables(tmp_path)
    assert known.columns == ["arm", "pairs (share)", "pairs (task, bits per byte)"]
    assert texts(gaps)[0][-1] == "higher" and bold(known) == []
    assert not any("No arm is above" in note for note in known.notes)


def test_many_tasks_stand_one_below_the_other(tmp_path: Path):
    for variant in ("gpt", "lineargpt"):
        job(tmp_path, variant, 1, evaluation={"tasks": {f"task {number}": task(0.4) for number in range(9)}})
    [known] = tables(tmp_path)
    assert known.columns == ["task", "gpt", "lineargpt", "chance", "shortest option", "untrained"]
    assert len(known.rows) == 9 and [cell.reference for cell in known.rows[0]] == [False] * 3 + [True] * 3


def test_nothing_is_shown_where_nobody_was_asked(tmp_path: Path):
    job(tmp_path, "gpt", 1)
    study = read_study([tmp_path])
    report(study, tmp_path)
    assert evaluation_tables(study.comparisons[0]) == [] == evaluation_figures(study.comparisons[0])
    for name in ("report.html", "results.md", "results.csv"):
        text = (tmp_path / name).read_text()
        assert "What the models know" not in text and "evaluation/" not in text


def test_items_that_lost_words_or_were_trained_on_are_told(tmp_path: Path):
    seen = {"contamination": {"share_of_items": 0.125, "items": 40, "of_training_text": 1.0}}
    asked = {"cut": task(0.4, cut_items=12), "seen": task(0.4, cut_items=0, **seen), "clean": task(0.4, cut_items=0)}
    job(tmp_path, "gpt", 0, evaluation={"tasks": asked, "corpora": {"books": corpus(2.0) | seen}})
    (known,) = tables(tmp_path)
    assert known.notes[-3:] == [
        "cut: up to 12 of 500 items are longer than a model's context and lose their beginning, examples first.",
        "seen: 12% of its items share 13 words in a row with the training text.",
        "books: 12% of its items share 13 words in a row with the training text.",
    ]


def test_numbers_alone_are_columns():
    tasks = {"easy (5-shot)": task(0.4, by={"age": {}}), "books": corpus(3.0)}
    found = evaluation_numbers(
        {"tasks": tasks, "corpora": {"books": corpus(2.0)}, "continuations": {"hit_rate": 0.5, "x": {}}}
    )
    keys = {"accuracy", "n", "margin", "chance", "shortest", "at_chance"}
    assert found["easy (5-shot)"].keys() == keys and found["easy (5-shot)"]["at_chance"] == 0
    assert [found[label]["bits_per_byte"] for label in ("books", "books (text)")] == [3.0, 2.0]
    assert found["continuations"] == {"hit_rate": 0.5}


def test_figures_have_a_band_a_task_with_intervals_and_chance(tmp_path: Path):
    fill(tmp_path)
    accuracy, bits = evaluation_figures(read_study([tmp_path]).comparisons[0])
    assert [accuracy.name, bits.name] == ["evaluation_accuracy", "evaluation_bits_per_byte"]
    chance, _, points = accuracy.spec["layer"]
    data = accuracy.spec["datasets"]
    assert data[chance["data"]["name"]] == [{"task": "easy", "chance": 0.25}, {"task": "hard", "chance": 0.25}]
    assert chance["mark"]["strokeDash"]
    rows = {(row["arm"], row["task"]): row for row in data[points["data"]["name"]]}
    assert set(rows) == {(arm, name) for arm in ("gpt", "lineargpt") for name in ("easy", "hard")}
    easy, score = rows["gpt", "easy"], mean([0.4, 0.42, 0.41])
    assert easy["accuracy"] == pytest.approx(0.41) and easy["low"] == pytest.approx(0.41 - score.half_width)
    assert len(bits.spec["layer"]) == 2


def test_report_files_have_it_and_escape_labels(tmp_path: Path):
    fill(tmp_path)
    tasks = {f"a|b {EVIL}": task(0.4), "easy": task(0.7)}
    job(tmp_path, "lineargpt", 1, None, "model.n_layer=9", evaluation={"tasks": tasks})
    report(read_study([tmp_path]), tmp_path)
    page, markdown = ((tmp_path / name).read_text() for name in ("report.html", "results.md"))
    assert page.count("<h2>What the models know</h2>") == 1 and EVIL not in page
    assert '<td class="best">0.700 ± 0.020</td>' in page and "&lt;/script&gt;&lt;script&gt;alert(1)" in page
    assert "**What the models know**" in markdown and "**0.700 ± 0.020**" in markdown
    assert "a\\|b &lt;/script>" in markdown and "<script" not in markdown
    with (tmp_path / "results.csv").open() as file:
        first, *_ = csv.DictReader(file)
    assert float(first["evaluation/easy/accuracy"]) == 0.4 and float(first["evaluation/easy/margin"]) == -0.125
    assert float(first["evaluation/books/bits_per_byte"]) == 2.0
    assert not [name for name in first if re.search("harness|untrained|precision", name)]
    for name in ("evaluation_accuracy", "evaluation_bits_per_byte"):
        assert (tmp_path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.slow
def test_a_browser_shows_it(tmp_path: Path):
    fill(tmp_path)
    job(tmp_path, "lineargpt", 1, None, "model.n_layer=9", evaluation={"tasks": {EVIL: task(0.4)}})
    report(read_study([tmp_path]), tmp_path)
    dom, said = browse(tmp_path / "report.html")
    assert ":CONSOLE" not in said, said
    for name in ("evaluation_accuracy", "evaluation_bits_per_byte"):
        drawn = re.search(rf'id="{name}".*?</figure>', dom, re.DOTALL)
        assert drawn and "<svg" in drawn[0] and "easy" in dom
