"""What each arm takes to reach the loss that its baseline ends with."""

import pytest
from sweeps import COSTS, job

from smallgpt.reporting.markdown import markdown
from smallgpt.reporting.speed_to_loss import speed_tables
from smallgpt.reporting.study import read_study


def test_the_cost_at_the_baselines_last_loss_over_its_own(tmp_path):
    # curves of four validations at 1,000 to 4,000 tokens, each 0.1 under the one before
    for seed, lead in ((1, 0.15), (2, 0.15), (3, 0.05)):
        job(tmp_path, "gpt", seed, 4.0)
        job(tmp_path, "lineargpt", seed, 4.0 - lead)  # is there 1.5 or 0.5 validations earlier
        job(tmp_path, "parallelgpt", seed, 4.0 if seed == 1 else 4.1)
        job(tmp_path, "convgpt", seed, 4.1)
    study = read_study([tmp_path])
    (table,) = speed_tables(study.comparisons[0])
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    ratios = [2500 / 4000, 2500 / 4000, 3500 / 4000]
    flops = COSTS["lineargpt"]["training_flops_per_token"] / COSTS["gpt"]["training_flops_per_token"]
    means = [float(text.partition(" ")[0]) for text in rows["lineargpt"]]
    assert means == pytest.approx([sum(ratios) / 3, flops * sum(ratios) / 3, sum(ratios) / 3], abs=6e-4)
    assert all(" ± " in text for text in rows["lineargpt"])
    assert rows["parallelgpt"] == ["reached on 1 of 3 seeds"] * 3
    assert rows["convgpt"] == ["not reached"] * 3 and "gpt" not in rows
    assert "Speed to the baseline's loss" in markdown(study)


def test_one_that_is_there_at_once_and_one_seed(tmp_path):
    job(tmp_path, "gpt", 1, 4.0)
    job(tmp_path, "lineargpt", 1, 3.0)
    ((_, tokens, _, seconds),) = speed_tables(read_study([tmp_path]).comparisons[0])[0].rows
    assert (tokens.text, seconds.text) == ("0.250", "0.250")


def test_without_a_baseline_there_is_no_table(tmp_path):
    job(tmp_path, "gpt", 1, 4.0)
    assert speed_tables(read_study([tmp_path]).comparisons[0]) == []
