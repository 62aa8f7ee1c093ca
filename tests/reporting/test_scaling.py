"""Arms at several sizes: the curve that is fitted to them, and whether a gain grows or vanishes with size."""

import re
from pathlib import Path

import numpy as np
import pytest
from sweeps import job

from smallgpt.reporting.figures import draw
from smallgpt.reporting.markdown import markdown
from smallgpt.reporting.scaling import fit_curves, scaling_series
from smallgpt.reporting.scaling_tables import course, scaling_tables
from smallgpt.reporting.statistics import Difference, Mean
from smallgpt.reporting.study import Comparison, read_study

SIZES = {48: (4e5, 1.2e13), 80: (9e5, 5.9e13), 128: (2.1e6, 2.8e14)}  # parameters and training FLOPs by width
FLOOR, SCALE, EXPONENT = 2.0, 2.4, 0.15


def curve(compute: float, scale: float = SCALE, exponent: float = EXPONENT) -> float:
    return FLOOR + scale * (compute / 1.2e13) ** -exponent


def run(sweep: Path, variant: str, width: int, seed: int, loss: float, *words: str) -> None:
    parameters, compute = SIZES[width]
    cost = {"parameters": parameters, "training_flops_per_token": 6 * parameters}
    train = {"tokens": compute / (6 * parameters)}
    of_a_size = (f"model.n_embd={width}", f"budget.flops={compute}", f"match.baseline.n_embd={width}")
    job(sweep, variant, seed, loss, *of_a_size, *words, cost=cost, train=train)


def study_of(sweep: Path, gaps: dict[str, list[float]], seeds: int = 3, noise: float = 0.0) -> Comparison:
    """Jobs of GPT, and of variants that are off its curve by these gaps at each size."""
    rng = np.random.default_rng(0)
    for seed in range(seeds):
        for i, (width, (_, compute)) in enumerate(SIZES.items()):
            common = float(rng.normal(0, noise))
            for variant, off in {"gpt": [0.0] * 3, **gaps}.items():
                own = float(rng.normal(0, noise / 10))
                run(sweep, variant, width, seed, curve(compute) + off[i] + common + own)
    return read_study([sweep]).comparisons[0]


def test_the_curve_that_the_losses_lie_on_is_found(tmp_path):
    other = {"bowtie": (2.3, 0.17)}
    gaps = {v: [curve(c, *how) - curve(c) for _, c in SIZES.values()] for v, how in other.items()}
    comparison = study_of(tmp_path, gaps, seeds=1)
    series = scaling_series(comparison)
    assert [(each.label, len(each.sizes)) for each in series] == [("gpt", 3), ("bowtie", 3)]
    found = fit_curves(series)
    for label, (scale, exponent) in {"gpt": (SCALE, EXPONENT), **other}.items():
        numbers = found[label].floor, found[label].scale, found[label].exponent
        assert [each.value for each in numbers] == pytest.approx([FLOOR, scale, exponent], abs=2e-3)
        assert all(each.low is None for each in numbers)  # one seed
        assert found[label].loss(5.9e13) == pytest.approx(curve(5.9e13, scale, exponent), abs=1e-4)


def test_intervals_hold_the_truth_and_say_what_they_cannot_fix(tmp_path):
    comparison = study_of(tmp_path, {"bowtie": [-0.05] * 3}, noise=0.02)
    fits, gaps = scaling_tables(comparison)
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in fits.rows}
    ends = [[float(end) for end in re.findall(r"[\d.]+", text.partition("[")[2])] for text in rows["gpt"][2:]]
    for (low, high), truth in zip(ends, (FLOOR, SCALE, EXPONENT), strict=True):
        assert low < truth < high
    notes = " ".join(fits.notes)
    assert "do not fix E" in notes and "12 degrees of freedom" in notes and "6 means for 5 numbers" in notes
    assert rows["gpt"][:2] == ["3", "12 TFLOP to 280 TFLOP"]
    ((label, *texts, verdict),) = [[cell.text for cell in row] for row in gaps.rows]
    assert label == "bowtie" and "400 thousand" in texts[0] and verdict == "the gain stays"


@pytest.mark.parametrize(
    ("gaps", "seeds", "verdict"),
    [
        ([-0.02, -0.04, -0.08], 3, "the gain grows"),
        ([-0.08, -0.04, -0.03], 3, "the gain shrinks"),
        ([-0.08, -0.04, 0.0], 3, "the gain vanishes"),
        ([-0.08, -0.02, 0.05], 3, "the gain turns into a deficit"),
        ([0.4, 0.5, 0.7], 3, "the deficit grows"),
        ([0.0, 0.0, 0.0], 3, "cannot tell"),
        ([-0.08, -0.04, 0.0], 1, "cannot tell: one seed"),
    ],
)
def test_what_becomes_of_a_gain(tmp_path, gaps, seeds, verdict):
    _, table = scaling_tables(study_of(tmp_path, {"bowtie": gaps}, seeds, noise=0.02))
    assert table.rows[0][-1].text == verdict


def test_a_gain_that_is_not_certain_is_not_told():
    unsure, sure = Difference(-0.02, -0.06, 0.02), Difference(-0.02, -0.03, -0.01)
    assert course(unsure, unsure, Mean(-0.02, 0.01, 3)) == "cannot tell"
    assert course(sure, sure, Mean(0.0, 0.02, 3)) == "cannot tell"
    assert course(unsure, sure, Mean(-0.02, 0.01, 3)) == "the gain grows"


def test_only_arms_of_three_sizes_that_differ_in_compute_make_a_curve(tmp_path):
    for width, (_, compute) in SIZES.items():
        run(tmp_path / "a", "gpt", width, 1, curve(compute))
        if width > 48:
            run(tmp_path / "a", "lineargpt", width, 1, curve(compute))
        run(tmp_path / "a", "bowtie", width, 1, curve(compute), f"optimizer.lr={width / 1e4}")  # not one recipe
    assert [each.label for each in scaling_series(read_study([tmp_path / "a"]).comparisons[0])] == ["gpt lr=0.001"]
    for layers in (4, 6, 8):  # of one compute each
        job(
            tmp_path / "b",
            "gpt",
            1,
            4.0,
            f"model.n_layer={layers}",
            cost={"parameters": layers, "training_flops": 1e12},
        )
    assert scaling_series(read_study([tmp_path / "b"]).comparisons[0]) == []
    assert scaling_tables(read_study([tmp_path / "b"]).comparisons[0]) == []


def test_a_tuned_axis_makes_no_other_arm_of_a_size(tmp_path):
    for width, (_, compute) in SIZES.items():
        for rate, worse in (("1e-3", 0.1 if width > 48 else 0.0), ("2e-3", 0.0 if width > 48 else 0.1)):
            run(tmp_path, "gpt", width, 1, curve(compute) + worse, f"optimizer.lr={rate}")
    (series,) = scaling_series(read_study([tmp_path], tune=["optimizer.lr"]).comparisons[0])
    assert [size.loss for size in series.sizes] == pytest.approx([curve(compute) for _, compute in SIZES.values()])


def test_the_report_draws_it_and_no_curve_of_a_loss_that_rises(tmp_path):
    comparison = study_of(tmp_path, {"lineargpt": [0.0, 1.0, 2.0]}, seeds=2, noise=0.01)
    (picture,) = [each for each in draw(comparison) if each.part == "scaling"]
    assert picture.error is None
    line, *_ = picture.spec["layer"]
    assert {row["arm"] for row in picture.spec["datasets"][line["data"]["name"]]} == {"gpt"}
    text = markdown(read_study([tmp_path]))
    assert "**Scaling with size**" in text and "does not fall with size for lineargpt" in text
    assert "No freedom is left" in text
