"""How jobs become arms, and arms comparisons."""

import json
from pathlib import Path

import pytest
from sweeps import failed, job

from smallgpt.errors import UserError
from smallgpt.reporting.arm_table import arm_notes, arm_table
from smallgpt.reporting.arms import command, read_study
from smallgpt.reporting.figures import draw
from smallgpt.reporting.statistics import undominated


def labels(study) -> list[list[str]]:
    return [[arm.label for arm in comparison.arms] for comparison in study.comparisons]


def test_jobs_that_differ_in_the_seed_alone_are_one_arm(tmp_path: Path):
    for seed in (1, 2, 3):
        for variant in ("lineargpt", "gpt"):
            job(tmp_path, variant, seed, 4.0 + seed / 10, "size=debug", f"study=s{seed}", "cache_dir=/x", "log_every=1")
    study = read_study([tmp_path])
    assert labels(study) == [["lineargpt", "gpt"]]
    assert study.comparisons[0].baseline.label == "gpt"
    assert study.arms[0].by_seed() == {1: 4.1, 2: 4.2, 3: 4.3}


def test_labels_name_what_differs_as_short_as_can_be(tmp_path: Path):
    job(tmp_path, "lineargpt", 1, 4.0, "model.downsample_position=2", "optimizer.lr=1e-3", "size=nano")
    job(tmp_path, "lineargpt", 1, 4.1, "model.downsample_position=3", "optimizer.lr=1e-3", "size=nano")
    job(tmp_path, "gpt", 1, 4.1, "+optimizer.lr=1e-3", "size=nano")
    assert labels(read_study([tmp_path])) == [
        ["lineargpt downsample_position=2", "lineargpt downsample_position=3", "gpt"]
    ]
    job(tmp_path, "gpt", 1, 4.1, "budget.tokens=5", "batch.tokens=7", "optimizer.lr=1e-3", "size=nano")
    assert labels(read_study([tmp_path]))[0][-1] == "gpt budget.tokens=5 batch.tokens=7"


def test_the_baseline_is_the_one_gpt_or_the_first_or_the_named(tmp_path: Path):
    for variant, word in (("lineargpt", "x.a=1"), ("gpt", "x.a=1"), ("gpt", "x.a=2")):
        job(tmp_path, variant, 1, 4.0, word)
    assert read_study([tmp_path]).comparisons[0].baseline.label == "lineargpt a=1"
    assert read_study([tmp_path], "gpt a=2").comparisons[0].baseline.label == "gpt a=2"
    with pytest.raises(UserError, match=r"^baseline=gpt a=3: no arm of that name; did you mean 'gpt a=[12]'\?$"):
        read_study([tmp_path], "gpt a=3")
    with pytest.raises(UserError, match=r"no arm of that name; there are lineargpt a=1, gpt a=1, gpt a=2$"):
        read_study([tmp_path], "zzz")


def test_other_data_is_never_compared(tmp_path: Path):
    for data in ("text-a", "text-b"):
        job(tmp_path, "gpt", 1, 4.0, f"data.path={data}", data=data)
        job(tmp_path, "lineargpt", 1, 4.2, f"data.path={data}", data=data)
    study = read_study([tmp_path])
    assert labels(study) == [["gpt path=text-a", "lineargpt path=text-a"], ["gpt path=text-b", "lineargpt path=text-b"]]
    assert [c.baseline.label for c in study.comparisons] == ["gpt path=text-a", "gpt path=text-b"]


def test_the_same_words_with_other_text_are_kept_apart(tmp_path: Path):
    job(tmp_path, "gpt", 1, 4.0, data="text of this machine")
    job(tmp_path, "gpt", 2, 3.0, data="text of another machine")
    study = read_study([tmp_path])
    assert [len(comparison.arms[0].jobs) for comparison in study.comparisons] == [1, 1]


def test_several_sweeps_share_arms_and_a_seed_counts_once(tmp_path: Path):
    for name, seeds in (("a", (1, 2)), ("b", (2, 3))):
        for seed in seeds:
            job(tmp_path / name, "gpt", seed, 4.0 + seed / 10)
    study = read_study([tmp_path / "a", tmp_path / "b"])
    assert [found.name for found in study.jobs] == ["a/0", "a/1", "b/0", "b/1"]
    assert study.arms[0].by_seed() == {1: 4.1, 2: 4.2, 3: 4.3}
    assert [found.name for found in study.repeated] == ["b/0"]


def test_failed_jobs_and_jobs_without_a_result_are_counted_and_not_compared(tmp_path: Path):
    job(tmp_path, "gpt", 1, 4.0)
    failed(tmp_path, "ended by signal SIGKILL; see log.txt", "model=lineargpt", "seed=1")
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "config.yaml").write_text("seed: 1")
    (tmp_path / "figures").mkdir()
    study = read_study([tmp_path])
    assert [(found.name, found.status, found.variant) for found in study.unfinished] == [
        ("1", "failed", "lineargpt"),
        ("2", "unfinished", "?"),
    ]
    assert labels(study) == [["gpt"]]


def test_a_report_inside_a_sweep_is_no_job(tmp_path: Path):
    job(tmp_path, "gpt", 1, 4.0)
    job(tmp_path, "gpt", 1, None, task="report")
    assert len(read_study([tmp_path]).jobs) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such directory"),
        (lambda path: path.mkdir(), "holds no job with a result.json; give the directory of a sweep"),
        (lambda path: job(path.parent / "x", "gpt").rename(path), "is a single run; give the directory of a sweep"),
    ],
)
def test_what_is_no_sweep_is_refused(tmp_path: Path, make, message: str):
    path = tmp_path / "study"
    make(path)
    with pytest.raises(UserError, match=f"^sweep={path}: {message}") as error:
        read_study([path])
    assert "\n" not in str(error.value)


def test_equal_arms_are_called_identical(tmp_path: Path):
    for seed in (1, 2):
        for variant in ("gpt", "lineargpt", "convgpt"):
            job(tmp_path, variant, seed, 4.0 + seed / 10 + (variant != "gpt"))
    comparison = read_study([tmp_path], "convgpt").comparisons[0]
    verdicts = {row["arm"]: row["verdict"] for row in arm_table(comparison)}
    assert verdicts == {"gpt": "better", "lineargpt": "identical", "convgpt": ""}
    assert any(note.startswith("lineargpt and convgpt are identical") for note in arm_notes(comparison))


def test_sizes_that_were_solved_for_are_named(tmp_path: Path):
    for seed in (1, 2):
        job(tmp_path, "gpt", seed)
        match = {"quantity": "seconds a token", "value": 0.0041, "difference": 0.025, "n_embd": 96, "n_layer": 4}
        job(tmp_path, "lineargpt", seed, match=match)
    (comparison,) = read_study([tmp_path]).comparisons
    (note,) = [note for note in arm_notes(comparison) if note.startswith("Sizes were solved for")]
    assert note.endswith(": lineargpt n_embd=96 n_layer=4, 0.0041 seconds a token (+2.5%).")


def test_the_command_is_hydras_record_or_made_from_the_words(tmp_path: Path):
    job(tmp_path, "gpt", 1, 4.0, "prompt=a b")
    job(tmp_path, "gpt", 2, 4.0, "prompt=a b")
    study = read_study([tmp_path])
    assert command(tmp_path, study.jobs) == "python run.py -m model=gpt seed=1,2 'prompt=a b'"
    sources = [{"path": "/conf", "provider": "main"}, {"path": "/home/me/myconf", "provider": "command-line"}]
    overrides = {"task": ["seed=1"], "hydra": ["hydra.launcher.n_jobs=2", "hydra.mode=MULTIRUN"]}
    record = {"hydra": {"overrides": overrides, "runtime": {"cwd": "/home/me/work", "config_sources": sources}}}
    (tmp_path / "multirun.yaml").write_text(json.dumps(record))
    words = "seed=1 hydra.launcher.n_jobs=2 --config-dir ../myconf"
    assert command(tmp_path, study.jobs) == f"python run.py -m {words}"


def test_the_front_holds_what_no_other_beats():
    points = [(1, 5), (2, 4), (3, 4), (4, 4.5), (5, 3), (1, 6)]
    rows = [{"cost": cost, "loss": loss} for cost, loss in points]
    assert [(row["cost"], row["loss"]) for row in undominated(rows)] == [(1, 5), (2, 4), (5, 3)]


def test_figures_follow_the_numbers_that_are_there(tmp_path: Path):
    for number, position in enumerate((1, 2, 3)):
        extra = {"inference": {"seconds_per_token": 0.01 * position}} if number else {}
        job(tmp_path, "lineargpt", 1, 4.0 - position / 10, f"model.downsample_position={position}", **extra)
    names = {figure.name for figure in draw(read_study([tmp_path]).comparisons[0])}
    assert {"loss_tokens", "loss_flops", "loss_seconds", "parameters", "diagram_0", "quality_latency"} <= names
    assert "axis_model_downsample_position_loss" in names
    assert "quality_parameters" not in names  # the same for all
    costs_alone = tmp_path / "inspected"
    job(costs_alone, "gpt", 1, None)
    names = {figure.name for figure in draw(read_study([costs_alone]).comparisons[0])}
    assert names == {"parameters", "diagram_0"}
