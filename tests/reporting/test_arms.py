"""How jobs become arms, and arms comparisons."""

import json
from pathlib import Path

import pytest
from command_line import CommandLine
from sweeps import COSTS, failed, job, write_config

from smallgpt.errors import UserError
from smallgpt.reporting.arm_table import arm_table
from smallgpt.reporting.axis_units import Measure
from smallgpt.reporting.caveats import caveats
from smallgpt.reporting.figures import draw
from smallgpt.reporting.job_table import job_table
from smallgpt.reporting.notes import arm_notes
from smallgpt.reporting.quality_figures import pareto
from smallgpt.reporting.statistics import undominated
from smallgpt.reporting.study import command, read_study

MODERN = 1315968  # parameters of gpt, size=nano, in a modern block, which is the default
HERE = ("hydra/launcher=basic", "~hydra.callbacks.report")
QUICK = ("seed=1", "trainer.threads=1", "batch.tokens=1024")


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
    plain, named = (read_study([tmp_path], name).comparisons[0] for name in (None, "gpt a=2"))
    assert [arm.label for arm in plain.references] == ["gpt a=1", "gpt a=2"] and plain.baseline is None
    assert named.baseline.label == "gpt a=2"
    with pytest.raises(UserError, match=r"^baseline=gpt a=3: no arm of that name; did you mean 'gpt a=[12]'\?$"):
        read_study([tmp_path], "gpt a=3")
    with pytest.raises(UserError, match=r"no arm of that name; there are lineargpt a=1, gpt a=1, gpt a=2$"):
        read_study([tmp_path], "zzz")


def test_defaults_written_out_logging_and_hardware_make_no_other_arm(tmp_path: Path):
    for seed, word in enumerate(("", "optimizer.lr=1e-3", "logger.mode=offline", "trainer.threads=1", "batch.micro=2")):
        job(tmp_path / "a", "gpt", seed, 4.0, *filter(None, [word]))
    job(tmp_path / "b", "gpt", 9, 4.0, "optimizer.lr=0.001")
    (arm,) = read_study([tmp_path / "a", tmp_path / "b"]).arms
    assert arm.label == "gpt" and len(arm.jobs) == 6
    names, rows = job_table(read_study([tmp_path / "a"]).jobs)
    assert "lr" not in names and "mode" not in names and "micro" not in names
    assert rows[3][names.index("hardware")] == "threads=1"


def test_jobs_of_other_size_with_the_same_words_are_other_arms(tmp_path: Path):
    for seed in (1, 2):
        for layers in (4, 6):  # the file that gave it was edited in between
            run_dir = job(tmp_path, "gpt", seed, 4.0 + layers, "optimizer.lr=2e-3")
            write_config(run_dir, ["model=gpt", f"seed={seed}", "optimizer.lr=2e-3", f"model.n_layer={layers}"])
    study = read_study([tmp_path])
    assert labels(study) == [["gpt n_layer=4", "gpt n_layer=6"]] and not study.repeated
    assert study.arms[0].by_seed() == {1: 8.0, 2: 8.0}


def test_a_choice_names_what_follows_from_it(tmp_path: Path):
    for size in ("debug", "nano"):
        for lr in ("1e-3", "2e-3"):
            job(tmp_path, "gpt", 1, 4.0, f"size={size}", f"optimizer.lr={lr}")
    assert labels(read_study([tmp_path]))[0][0] == "gpt size=debug lr=0.001"
    job(tmp_path, "lineargpt", 1, 4.0, "size=nano", "model.n_layer=9")
    assert labels(read_study([tmp_path]))[0][-1] == "lineargpt size=nano n_layer=9 lr=0.001"


@pytest.mark.slow
def test_a_sweep_of_real_configs_has_the_arms_that_differ(cli: CommandLine):
    words = ("task=inspect", "model=gpt,lineargpt", "size=debug,nano", "optimizer.lr=0.001,1e-3", *QUICK)
    done = cli("-m", *words, "hydra.sweep.dir=sweep", "hydra/launcher=basic")
    assert done.code == 0, done.err
    study = read_study([Path("sweep")])
    assert len(study.jobs) == 8 and len(study.repeated) == 4
    assert labels(study) == [["gpt size=debug", "gpt size=nano", "lineargpt size=debug", "lineargpt size=nano"]]
    (comparison,) = study.comparisons
    pairs = [(arm.label, over.label) for arm in comparison.arms if (over := comparison.baseline_of(arm))]
    assert pairs == [("lineargpt size=debug", "gpt size=debug"), ("lineargpt size=nano", "gpt size=nano")]


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
            cost = COSTS["gpt" if variant == "gpt" else "lineargpt"]
            job(tmp_path, variant, seed, 4.0 + seed / 10 + (variant != "gpt"), cost=cost)
    comparison = read_study([tmp_path], "convgpt").comparisons[0]
    verdicts = {row["arm"]: row["verdict"] for row in arm_table(comparison)}
    assert verdicts == {"gpt": "better", "lineargpt": "identical", "convgpt": ""}
    assert any(note.startswith("lineargpt and convgpt are identical") for note in arm_notes(comparison))


def test_sizes_that_were_solved_for_have_a_target_and_a_distance(tmp_path: Path):
    match = {"quantity": "parameters", "target": 1852544, "value": 1873520, "difference": 0.01132, "n_layer": 4}
    job(tmp_path, "gpt", 1, match={**match, "value": 1852544, "difference": 0.0, "n_embd": 128})
    job(tmp_path, "lineargpt", 1, match={**match, "n_embd": 176})
    (comparison,) = read_study([tmp_path]).comparisons
    row = arm_table(comparison)[1]
    assert (row["matched to"], row["off by"]) == ("1,852,544 parameters", "+1.13%")
    notes = " ".join(arm_notes(comparison))
    assert "lineargpt n_embd=176 n_layer=4" in notes and not caveats(comparison)
    job(tmp_path, "convgpt", 1, match={**match, "target": 1328256, "n_embd": 96})
    (said,) = caveats(read_study([tmp_path]).comparisons[0])
    assert said == "Warning: not all are matched to one target, but to 1,852,544 parameters or 1,328,256 parameters."


@pytest.mark.parametrize(
    ("words", "target"),
    [
        pytest.param(("experiment=head_rank", "block=gpt2"), 1852544, marks=pytest.mark.slow),
        (("model=gpt", "block=gpt2,modern"), MODERN),
        pytest.param(
            ("model=lineargpt", "model.tie_word_embeddings=true", "model.output_head=projected", "block=gpt2"),
            1852544,
            marks=pytest.mark.slow,
        ),
        pytest.param(("model=gpt", "model.n_embd=96,128", "block=gpt2"), 1852544, marks=pytest.mark.slow),
        (("model=gpt,lineargpt", "model.n_layer=2", "block=gpt2"), 1458816),  # the size of all jobs is the sweep's
        (("model=gpt,lineargpt", "match.baseline={n_layer:2}", "block=gpt2"), 1458816),
    ],
)
def test_one_sweep_has_one_target(cli: CommandLine, words: tuple[str, ...], target: int):
    done = cli("-m", "task=inspect", "match=params", "size=nano", *QUICK, *words, "hydra.sweep.dir=x", *HERE)
    assert done.code == 0, done.err
    jobs = read_study([Path("x")]).jobs
    assert {job.section("match")["target"] for job in jobs} == {target}, [job.section("match") for job in jobs]
    assert len(jobs) >= (3 if "experiment" in words[0] else 1)


def test_the_interval_over_documents_stands_beside_that_over_seeds(tmp_path: Path):
    for seed, shift in ((1, 0.0), (2, 0.1)):
        val = {"loss": 4.0 + shift, "bits_per_byte": 2.0 + shift, "bits_per_byte_interval": [1.9 + shift, 2.2 + shift]}
        job(tmp_path, "gpt", seed, val=val)
    (comparison,) = read_study([tmp_path]).comparisons
    (row,) = arm_table(comparison)
    assert row["bits per byte"] == "2.0500 ± 0.6353" and row["over documents [95 %]"] == "[1.9500, 2.2500]"
    assert any(note.startswith("Over documents:") for note in arm_notes(comparison))


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


def test_the_front_holds_what_is_certainly_better_than_all_that_costs_less(tmp_path: Path):
    points = [(1, 5), (2, 4), (3, 4), (4, 4.5), (5, 3), (1, 6)]
    rows = [{"cost": cost, "loss": loss} for cost, loss in points]
    front = undominated(rows, lambda row, other: row["loss"] < other["loss"])
    assert [(row["cost"], row["loss"]) for row in front] == [(1, 5), (2, 4), (5, 3)]
    for seed, noise in ((1, 0.02), (2, -0.02), (3, 0.0)):
        job(tmp_path, "lineargpt", seed, 4.0 + seed)  # the cheapest; then gpt, then parallelgpt
        job(tmp_path, "gpt", seed, 4.0 + seed - 0.001 + noise)
        job(tmp_path, "parallelgpt", seed, 4.0 + seed - 0.2 + noise)
    (figure,) = [each for each in pareto(read_study([tmp_path]).comparisons[0]) if each.name == "quality_parameters"]
    line = figure.spec["datasets"][figure.spec["layer"][0]["data"]["name"]]
    assert [row["arm"] for row in line] == ["lineargpt", "parallelgpt"]


def test_axes_have_written_out_units(tmp_path: Path):
    assert Measure("time", "s").title([0.0021, 0.0004]) == "time (ms)" and Measure("time", "s").text(0.0021) == "2.1 ms"
    assert Measure("time", "s").title([7200]) == "time (s)" and Measure("cache", "B").title([2048]) == "cache (kB)"
    assert Measure("parameters").title([77_210_112]) == "parameters (millions)"
    assert Measure("parameters").text(240_192) == "240.2 thousand" and Measure("x").title([1, 2]) == "x"
    for number, variant in enumerate(("gpt", "lineargpt")):
        job(tmp_path, variant, 1, 4.0 + number, inference={"seconds_per_token": 0.0021 + number / 1000})
    figures = {each.name: json.dumps(each.spec) for each in draw(read_study([tmp_path]).comparisons[0])}
    assert '"time a generated token (ms)"' in figures["quality_latency"] and "2.1 ms" in figures["quality_latency"]
    assert not [name for name, spec in figures.items() if '"~s"' in spec]


def test_figures_follow_the_numbers_that_are_there(tmp_path: Path):
    for number, position in enumerate((1, 2, 3)):
        extra = {"inference": {"seconds_per_token": 0.01 * position}} if number else {}
        job(tmp_path, "lineargpt", 1, 4.0 - position / 10, f"model.downsample_position={position}", **extra)
    names = {figure.name for figure in draw(read_study([tmp_path]).comparisons[0])}
    assert {"seeds", "differences", "loss", "loss_late", "parameters", "diagram_0", "quality_latency"} <= names
    assert "axis_model_downsample_position_loss" in names
    assert "quality_parameters" not in names  # the same for all
    costs_alone = tmp_path / "inspected"
    job(costs_alone, "gpt", 1, None)
    names = {figure.name for figure in draw(read_study([costs_alone]).comparisons[0])}
    assert names == {"parameters", "diagram_0"}


def adapted(sweep: Path, examples: int | None, seed: int, accuracy: float, *words: str, variant: str = "gpt") -> None:
    """A job of task=finetune that was adapted to so many examples."""
    scores = {"accuracy": accuracy, "macro_f1": accuracy, "n": 10}
    beside = {"majority": {"accuracy": 0.5}, "4 shots": {"accuracy": 0.55}}
    given = (f"data.examples={'null' if examples is None else examples}", *words)
    more = {"data": {"train_examples": examples or 5000}, "baselines": beside, "test": scores | {"loss": 0.6}}
    more["finetune"] = {"kind": "classification"}
    path = job(sweep, variant, seed, 0.7, "task=finetune", *given) / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def test_numbers_of_examples_are_arms_with_what_they_have_to_beat(tmp_path: Path):
    for examples in (16, 64, None):
        for seed in (1, 2):
            accuracy = 0.6 + seed / 100 + (examples or 1000) / 1e4
            adapted(tmp_path, examples, seed, accuracy, f"finetune.shots=[{seed}]")  # asked beside: no other arm
    (comparison,) = read_study([tmp_path]).comparisons
    assert [arm.label for arm in comparison.arms] == ["gpt examples=16", "gpt examples=64", "gpt examples=null"]
    rows = arm_table(comparison)
    assert [row["seeds"] for row in rows] == ["2", "2", "2"]
    assert rows[0]["accuracy"].startswith("0.616") and rows[0]["accuracy of majority"].startswith("0.5")
    assert {"macro F1", "accuracy of 4 shots"} <= rows[0].keys()
    (curve,) = (found for found in draw(comparison) if found.name == "learning_curve")
    assert curve.error is None
    (points,) = curve.spec["datasets"].values()
    for series in ("gpt", "majority", "4 shots"):
        assert [row["examples"] for row in points if row["series"] == series] == [16, 64, 5000]
    assert points[0]["seeds"] == 2 and points[0]["low"] < points[0]["score"] < points[0]["high"]


def test_shots_are_those_of_each_model(tmp_path: Path):
    for variant in ("gpt", "lineargpt"):
        for examples in (16, 64):
            adapted(tmp_path, examples, 1, 0.6, variant=variant)
    (comparison,) = read_study([tmp_path]).comparisons
    (curve,) = (found for found in draw(comparison) if found.name == "learning_curve")
    (points,) = curve.spec["datasets"].values()
    assert {row["series"] for row in points} == {"gpt", "lineargpt", "majority", "gpt, 4 shots", "lineargpt, 4 shots"}


def test_a_loss_a_label_is_not_compared_with_a_loss_a_token(tmp_path: Path):
    for classifier in ("head", "words"):
        adapted(tmp_path, 16, 1, 0.6, f"finetune.classifier={classifier}")
    assert [[len(each.arms)] for each in read_study([tmp_path]).comparisons] == [[1], [1]]


def test_a_proof_of_concept_tells_the_texts_apart_that_its_models_were_trained_on(tmp_path: Path):
    for corpus in ("stdlib", "files"):
        job(tmp_path, "gpt", 1, 4.0, "task=poc", f"data.corpus={corpus}")
    (comparison,) = read_study([tmp_path]).comparisons
    assert [arm.label for arm in comparison.arms] == ["gpt corpus=stdlib", "gpt corpus=files"]
