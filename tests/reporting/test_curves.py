"""Curves of arms: means and bands over seeds, what coincides, and what the page is given."""

import csv
import json
from pathlib import Path

import pytest
from sweeps import COSTS, failed, job

from smallgpt.reporting.curve_figures import curve_figures, interactive_curves
from smallgpt.reporting.curves import LOSS, arm_curve, coinciding, mean_curve, spent_key
from smallgpt.reporting.jobs import thinned
from smallgpt.reporting.quality_figures import pareto
from smallgpt.reporting.seed_figures import seed_figures
from smallgpt.reporting.study import Comparison, read_study


def comparison(sweep: Path) -> Comparison:
    (found,) = read_study([sweep]).comparisons
    return found


def test_a_line_is_the_mean_and_its_band_the_interval():
    one = [{"tokens": 10.0, "seconds": 1.0, LOSS: 5.0}, {"tokens": 20.0, "seconds": 2.0, LOSS: 4.0}]
    other = [{"tokens": 10.0, "seconds": 3.0, LOSS: 5.2}, {"tokens": 20.0, "seconds": 4.0, LOSS: 4.2}]
    found = mean_curve([one, other], [LOSS], band=LOSS)
    assert found["tokens"] == [10, 20] and found["seconds"] == [2, 3] and found["seeds"] == [2, 2]
    assert found[LOSS] == [5.1, 4.1]
    assert found["low"][0] == pytest.approx(5.1 - 12.706 * 0.1, abs=1e-3)  # t of one degree of freedom
    alone = mean_curve([one], [LOSS], band=LOSS)
    assert alone["low"] == [None, None] and alone[LOSS] == [5.0, 4.0]


def test_a_run_that_stopped_early_ends_its_part_of_the_mean():
    long = [{"tokens": float(t), LOSS: 5.0} for t in (10, 20, 30)]
    short = [{"tokens": 10.0, LOSS: 4.0}, {"tokens": 25.0, LOSS: 4.0}]
    found = mean_curve([short, long], [LOSS], band=LOSS)
    assert found[LOSS] == [4.5, 4.5, 5.0] and found["seeds"] == [2, 2, 1]
    assert mean_curve([[], [{"step": 1.0}]], [LOSS]) == {}


def test_rows_of_a_long_training_are_means_of_neighbours():
    rows = [{"tokens": float(i), "train/loss": float(i % 2)} for i in range(1000)]
    found = thinned(rows, 100)
    assert len(found) == 100 and found[0] == {"tokens": 4.5, "train/loss": 0.5}
    assert thinned(rows[:5], 100) == rows[:5]
    seldom = [{"tokens": float(i)} | ({"norm": 3.0} if i % 10 == 0 else {}) for i in range(1000)]
    assert thinned(seldom, 100)[0] == {"tokens": 4.5, "norm": 3.0}


def test_lines_that_cover_each_other_are_said_to(tmp_path: Path):
    cost = {"cost": COSTS["lineargpt"]}
    job(tmp_path, "gpt", 1, 4.0)
    job(tmp_path, "lineargpt", 1, 4.5, **cost)
    job(tmp_path, "convgpt", 1, 4.5, **cost)
    job(tmp_path, "parallelgpt", 1, 4.001)
    found = comparison(tmp_path)
    said = coinciding(found, [arm_curve(arm) for arm in found.arms])
    assert said == [
        "lineargpt and convgpt are one line: equal to the last bit.",
        "gpt and parallelgpt look like one line: nowhere more than 0.0010 from the first.",
    ]


def test_curves_are_drawn_against_what_the_budget_is_in(tmp_path: Path):
    job(tmp_path, "gpt", 1, 4.0, "budget.flops=4e9")
    assert spent_key(comparison(tmp_path)) == "flops"
    assert "training compute" in curve_figures(comparison(tmp_path))[0].title
    job(tmp_path, "lineargpt", 1, 4.0, "budget.seconds=4")
    assert spent_key(comparison(tmp_path)) == "tokens"


def test_every_axis_of_losses_says_the_unit_of_this_comparison(tmp_path: Path):
    for variant in ("gpt", "lineargpt"):
        for seed in (1, 2):
            job(tmp_path, variant, seed, 4.0 + seed / 10, finetune={"kind": "classification"})
    config = "finetune:\n  classifier: head\n"
    for path in tmp_path.glob("*/config.yaml"):
        path.write_text(path.read_text() + config)
    found = comparison(tmp_path)
    drawn = [*curve_figures(found), *seed_figures(found), *pareto(found)]
    texts = [json.dumps(each.spec) for each in drawn] + [json.dumps(interactive_curves(found, []))]
    assert len(texts) > 4 and all("nats a label" in text and "nats a token" not in text for text in texts)


def test_the_page_has_every_mean_every_run_and_what_metrics_csv_says(tmp_path: Path):
    for seed in (1, 2):
        add_training(job(tmp_path, "gpt", seed, 4.0 + seed / 10))
    other = failed(tmp_path, "RuntimeError: x", "model=lineargpt", "seed=1")
    (other / "metrics.csv").write_text("step,tokens,val/loss\n1,1000,9\n")
    study = read_study([tmp_path])
    found = interactive_curves(study.comparisons[0], study.unfinished)
    assert found is not None and list(found["axes"]) == ["tokens", "flops", "seconds"]
    gpt, lost = found["arms"]
    assert gpt["loss"]["seeds"] == [2] * 4 and [run["seed"] for run in gpt["runs"]] == [1, 2]
    assert gpt["training"]["train/grad_norm"] == [0.5] and gpt["dash"] != lost["dash"]
    assert (lost["label"], lost["loss"], len(lost["runs"])) == ("lineargpt (failed)", {}, 1)
    titles = [panel["title"] for panel in found["panels"]]
    assert titles == ["Validation loss", "Validation loss, the late part", "Training loss", "Gradient norm", "Speed"]
    json.dumps(found, allow_nan=False)


def add_training(run_dir: Path) -> None:
    """Adds a row as a training step leaves it."""
    rows = list(csv.DictReader((run_dir / "metrics.csv").open()))
    rows.append({"step": 4, "tokens": 4000, "train/loss": 4.0, "train/grad_norm": 0.5, "speed/tokens_per_second": 9})
    with (run_dir / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
