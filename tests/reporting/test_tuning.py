"""A tuned axis: each arm at its own best of the values tried, and baselines at equal other choices."""

from pathlib import Path

import pytest
from command_line import RUN, CommandLine
from omegaconf import OmegaConf
from sweeps import STEPS, TOKENS, failed, job

from smallgpt.errors import UserError
from smallgpt.reporting.arm_table import arm_table
from smallgpt.reporting.caveats import caveats
from smallgpt.reporting.figures import draw
from smallgpt.reporting.notes import arm_notes
from smallgpt.reporting.statistics import compare_arms, winner
from smallgpt.reporting.study import read_study

LOSSES = {  # by variant and rate: gpt is best at 2e-3, lineargpt at 4e-3
    "gpt": {"1e-3": 4.9, "2e-3": 4.0, "4e-3": 4.5},
    "lineargpt": {"1e-3": 4.4, "2e-3": 4.3, "4e-3": 4.2},
}
TUNE = ["optimizer.lr"]


def grid(sweep: Path, *seeds: int, tests: bool = False) -> None:
    for seed in seeds:
        for variant, losses in LOSSES.items():
            for rate, loss in losses.items():
                loss += 0.01 * seed + 0.001 * seed * len(variant)
                more = {"test": {"loss": loss + 1, "bits_per_byte": 2.0}} if tests else {}
                job(sweep, variant, seed, loss, f"optimizer.lr={rate}", **more)


def test_without_tuning_each_arm_is_compared_at_equal_other_choices(tmp_path: Path):
    grid(tmp_path, 1, 2)
    (comparison,) = read_study([tmp_path]).comparisons
    gaps = {label: gap.value for label, gap in compare_arms(comparison).items()}
    expected = {"0.001": 4.4 - 4.9, "0.002": 4.3 - 4.0, "0.004": 4.2 - 4.5}  # and 0.006 for the length of a name
    assert gaps == {f"lineargpt lr={lr}": pytest.approx(gap + 0.009) for lr, gap in expected.items()}
    rows = {row["arm"]: row for row in arm_table(comparison)}
    assert rows["lineargpt lr=0.004"]["baseline"] == "gpt lr=0.004"
    assert rows["gpt lr=0.004"]["difference [95 %]"] == "baseline"
    assert winner(comparison).startswith("The baseline gpt lr=0.002 has the lowest validation loss")
    assert "Next: lineargpt lr=0.002, +0.3090" in winner(comparison)


def test_a_baseline_may_be_written_in_any_way(tmp_path: Path):
    grid(tmp_path, 1)
    for name in ("gpt lr=1e-3", "gpt optimizer.lr=0.001", "gpt lr=0.001"):
        (comparison,) = read_study([tmp_path], name).comparisons
        assert comparison.baseline is not None and comparison.baseline.label == "gpt lr=0.001"
    (comparison,) = read_study([tmp_path], "lineargpt").comparisons
    assert len(comparison.references) == 3
    with pytest.raises(UserError, match=r"^baseline=gpt lr=7: no arm of that name; did you mean 'gpt lr="):
        read_study([tmp_path], "gpt lr=7")


def test_the_report_takes_the_baseline_as_the_readme_writes_it(cli: CommandLine):
    grid(Path("sweep"), 1)
    done = cli("task=report", "sweep=sweep", 'baseline="gpt lr=1e-3"', "hydra.run.dir=run")
    assert done.code == 0, done.err
    assert "against the baseline" in done.result["report"]["winner"][0] or "gpt lr=0.001" in done.out


def test_each_arm_uses_its_own_best_and_is_reported_on_other_seeds(tmp_path: Path):
    grid(tmp_path / "a", 1)
    for variant, rate in (("gpt", "2e-3"), ("lineargpt", "4e-3")):
        for seed in (2, 3):
            job(tmp_path / "b", variant, seed, LOSSES[variant][rate] + seed / 100, f"optimizer.lr={rate}")
    (comparison,) = read_study([tmp_path / "a", tmp_path / "b"], tune=TUNE).comparisons
    gpt, linear = comparison.arms
    assert (gpt.label, linear.label) == ("gpt", "lineargpt") and comparison.baseline is gpt
    assert gpt.tuning.chosen == {"optimizer.lr": 0.002} and linear.tuning.chosen == {"optimizer.lr": 0.004}
    assert gpt.by_seed() == {2: 4.02, 3: 4.03} and linear.by_seed() == {2: 4.22, 3: 4.23}
    assert compare_arms(comparison)["lineargpt"].value == pytest.approx(0.2)
    assert arm_table(comparison)[0]["lr"] == "0.002 of 0.001, 0.002, 0.004"
    notes = " ".join(arm_notes(comparison))
    assert "gpt, lineargpt: chosen on seed 1; the validation loss is of seeds 2, 3." in notes
    assert "did the choosing" not in notes
    (said,) = caveats(comparison)
    assert said.endswith(
        "the best lr is at the edge of those tried, a value beyond it may be better: 0.004 of lineargpt."
    )
    assert "tuned_optimizer_lr" in {each.name for each in draw(comparison)}


def test_a_rate_that_diverged_was_tried(tmp_path: Path):
    for rate, loss in (("1e-3", 4.1), ("2e-3", 4.0)):
        job(tmp_path, "gpt", 1, loss, f"optimizer.lr={rate}")
    failed(tmp_path, "training diverged", "model=gpt", "seed=1", "optimizer.lr=4e-3")
    (arm,) = read_study([tmp_path], tune=TUNE).arms
    assert arm.tuning.chosen == {"optimizer.lr": 0.002} and not arm.tuning.edges
    assert [trial.values["optimizer.lr"] for trial in arm.tuning.tried] == [0.001, 0.002, 0.004]


def test_validation_chooses_and_test_reports(tmp_path: Path):
    grid(tmp_path, 1, 2, tests=True)
    (comparison,) = read_study([tmp_path], tune=TUNE).comparisons
    assert comparison.split == "test"
    assert comparison.losses(comparison.arms[0])[1] == pytest.approx(5.0 + 0.013)
    assert "test loss" in arm_table(comparison)[0] and "test loss" in winner(comparison)
    assert "chosen on seeds 1, 2; the test loss is of the same." in " ".join(arm_notes(comparison))
    job(tmp_path, "parallelgpt", 1, 3.0)
    assert read_study([tmp_path], tune=TUNE).comparisons[0].split == "val"


def test_a_key_that_no_job_has_is_refused(tmp_path: Path, cli: CommandLine):
    grid(tmp_path / "sweep", 1)
    with pytest.raises(UserError, match=r"^tune=optimizer.lrr: no job of .* has it; did you mean 'optimizer.lr'\?$"):
        read_study([tmp_path / "sweep"], tune=["optimizer.lrr"])
    words = ("-m", "task=inspect", "size=debug", "optimizer.lr=1e-3,2e-3", "hydra.sweep.dir=x")
    assert cli.refused(*words, "tune=optimizer.lrr") == "tune=optimizer.lrr: unknown key; did you mean 'optimizer.lr'?"


def test_the_sweep_itself_says_what_is_tuned(tmp_path: Path):
    for rate, loss in LOSSES["gpt"].items():
        job(tmp_path, "gpt", 1, loss, f"optimizer.lr={rate}", "tune=optimizer.lr")
    (arm,) = read_study([tmp_path]).arms
    assert arm.label == "gpt" and arm.tuning.chosen == {"optimizer.lr": 0.002}
    recipe = OmegaConf.load(RUN.parent / "conf" / "experiment" / "learning_rate.yaml")
    assert recipe.tune in recipe.hydra.sweeper.params


@pytest.mark.parametrize(
    ("key", "times", "warned"),
    [("tuned", 1, False), ("tuned", 1.4, False), ("tuned", 2, True), ("front", 2, True)],
)
def test_a_rate_that_shorter_trainings_chose_is_said_to_be_too_high(
    tmp_path: Path, key: str, times: float, warned: bool
):
    grid(tmp_path / "rates", 1)
    tokens = int(times * STEPS * TOKENS)
    for variant, rate in (("gpt", "2e-3"), ("lineargpt", "4e-3")):
        job(tmp_path / "finals", variant, 11, 3.9, f"optimizer.lr={rate}", train={"tokens": tokens, "steps": 9})
    record = {"hydra": {"sweeper": {key: "rates"}, "runtime": {"cwd": str(tmp_path)}}}
    OmegaConf.save(record, tmp_path / "finals" / "multirun.yaml")
    (comparison,) = read_study([tmp_path / "finals"]).comparisons
    assert [text for text in caveats(comparison) if "hydra.sweeper." in text] == warned * [
        f"Warning: hydra.sweeper.{key}=rates chose on {STEPS * TOKENS:,} tokens, these trainings have {tokens:,}: the "
        "best rate of a longer training is lower, so try half of it too, in every arm."
    ]
