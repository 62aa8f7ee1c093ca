"""A study of many arms: ranked, the best and the chosen shown, the rest folded."""

import re
from pathlib import Path

import pytest
from sweeps import job

from smallgpt.errors import UserError
from smallgpt.reporting.arm_table import arm_table
from smallgpt.reporting.figures import draw
from smallgpt.reporting.html import page
from smallgpt.reporting.latex import latex, latex_table
from smallgpt.reporting.price import price_sentence, study_cost
from smallgpt.reporting.ranking import MOST_ARMS, answer, shown_arms
from smallgpt.reporting.study import Study, read_study


def many(sweep: Path, label: dict[str, str] | None = None) -> Study:
    """Fifteen arms, of which the baseline is the worst and the last but one is given a name."""
    for i in range(14):
        job(sweep, "lineargpt", 1, 4.0 + i / 100, f"optimizer.lr={i + 1}e-3")
    job(sweep, "gpt", 1, 5.0, "optimizer.lr=1e-3")
    return read_study([sweep], label=label or {})


def test_the_best_and_what_they_beat_are_shown_and_the_rest_is_folded(tmp_path: Path):
    study = many(tmp_path)
    (comparison,) = study.comparisons
    shown = [arm.label for arm in shown_arms(comparison)]
    assert len(shown) == MOST_ARMS and shown[0] == "lineargpt lr=0.001" and shown[-1] == "gpt lr=0.001"
    assert [row["arm"] for row in arm_table(comparison)][-1] == "gpt lr=0.001"
    figures = draw(comparison)
    assert len([figure for figure in figures if figure.part == "diagrams"]) == 2
    (seeds,) = [figure for figure in figures if figure.name == "seeds"]
    assert len(re.findall("lineargpt", seeds.text)) == 2 * 9  # a point and a mean of each
    whole = page(study, [figures], "study")
    assert "10 of 15, ranked" in whole and whole.count("lineargpt lr=0.014") > 1
    hidden = whole.partition('<tbody id="folded_0_1" hidden>')[2].partition("</tbody>")[0]
    assert "lineargpt lr=0.014" in hidden and "lineargpt lr=0.001" not in hidden
    assert "<details><summary>5 more</summary>" in whole


def test_a_label_names_an_arm_and_brings_it_into_the_figures(tmp_path: Path):
    study = many(tmp_path, {"Ours & theirs": "lineargpt lr=14e-3"})
    (comparison,) = study.comparisons
    shown = [arm.label for arm in shown_arms(comparison)]
    assert "Ours & theirs" in shown and len(shown) == MOST_ARMS
    table = latex_table(study)
    assert "% the best 10 of 15 arms" in table and "Ours \\& theirs & 4.1300 & -0.8700" not in table
    assert "Ours \\& theirs & 4.1300 & $-$0.8700" in table and "\\textbf{4.0000}" in table
    for label, says in (
        ({"A": "lineargpt lr=15e-3"}, r"^label.A=lineargpt lr=15e-3: no arm of that name; did you mean 'lineargpt"),
        ({"A": "lineargpt"}, r"^label.A=lineargpt: is 14 arms: lineargpt lr=0.001, .*; name one$"),
        ({"gpt lr=0.001": "lineargpt lr=1e-3"}, r"^label.gpt lr=0.001=lineargpt lr=1e-3: another arm has that name$"),
    ):
        with pytest.raises(UserError, match=says):
            read_study([tmp_path], label=label)


def test_an_answer_has_a_price(tmp_path: Path):
    job(tmp_path, "gpt", 1, 4.0)
    job(tmp_path, "lineargpt", 1, 3.9)
    study = read_study([tmp_path])
    (comparison,) = study.comparisons
    best, rival = answer(comparison)
    assert (best and best.label, rival and rival.label) == ("lineargpt", "gpt")
    assert (price_sentence(comparison) or "").startswith("The price of lineargpt beside gpt: parameters -")
    assert "training tokens equal" in (price_sentence(comparison) or "")
    assert study_cost(study).startswith("4 seconds of training, 8 thousand tokens, ")
    job(tmp_path, "gpt", 2, 1.0)  # the baseline is the best; it is held against the next
    best, rival = answer(read_study([tmp_path]).comparisons[0])
    assert (best and best.label, rival and rival.label) == ("gpt", "lineargpt")


def test_a_sweep_without_metrics_of_a_search_has_no_front(tmp_path: Path):
    study = many(tmp_path)
    assert "The Pareto front" not in page(study, [draw(study.comparisons[0])], "study")


def test_latex_is_escaped():
    assert latex("a_b 5 % ± 1 -2 x-y") == r"a\_b 5 \% $\pm$ 1 $-$2 x-y"
