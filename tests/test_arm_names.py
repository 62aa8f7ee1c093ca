"""Names of arms before their jobs run, as a logger calls its runs."""

import json
from pathlib import Path

import pytest

from smallgpt.launch.arm_names import arm_of_run, arms_of_sweep
from smallgpt.reporting.jobs import ReportedJob
from smallgpt.reporting.naming import Described
from smallgpt.run_directory import write_config
from smallgpt.training.sent_config import recipe, run_name, tags, without_folders


def prepared(sweep: Path, number: int, variant: str, rate: float, seed: int) -> Described:
    """What a sweep leaves in a job's directory before it runs."""
    run_dir = sweep / str(number)
    run_dir.mkdir(parents=True)
    write_config(run_dir, {"model": {"n_layer": 4}, "optimizer": {"lr": rate}, "seed": seed, "cache_dir": "/somewhere"})
    words = [f"model={variant}", f"optimizer.lr={rate}", f"seed={seed}", "budget.tokens=1e6"]
    record = {"overrides": words, "choices": {"model": variant, "size": "nano"}}
    (run_dir / ".job.json").write_text(json.dumps(record))
    return ReportedJob(str(number), run_dir, {}).described


def test_a_job_is_called_by_what_varies_in_its_sweep(tmp_path):
    jobs = [prepared(tmp_path, 0, "gpt", 1e-3, 1), prepared(tmp_path, 1, "lineargpt", 1e-3, 1)]
    assert arms_of_sweep(jobs) == ["gpt", "lineargpt"]
    jobs.append(prepared(tmp_path, 2, "lineargpt", 4e-3, 2))
    assert arms_of_sweep(jobs) == ["gpt lr=0.001", "lineargpt lr=0.001", "lineargpt lr=0.004"]


def test_a_search_names_what_it_sets_from_its_first_job_on(tmp_path):
    [name] = arms_of_sweep([prepared(tmp_path, 0, "gpt", 1e-3, 1)], {"optimizer.lr"})
    assert name == "gpt lr=0.001"


def test_a_run_alone_is_called_by_what_its_command_line_sets(tmp_path):
    plain = {"optimizer": {"lr": 0.01}, "trainer": {"devices": 1}, "seed": 3, "data": {"path": "/home/me/books"}}
    words = ["model=gpt", "size=nano", "optimizer.lr=1e-2", "seed=3", "trainer.devices=1", "data.path=/home/me/books"]
    arm = arm_of_run({"model": "gpt", "size": "nano"}, plain, words, tmp_path)
    assert arm == "gpt size=nano lr=0.01 path=/home/me/books"
    assert run_name(arm, 3) == "gpt size=nano lr=0.01 path=books s3"


def test_a_recipe_and_the_variant_are_tags():
    result = {"overrides": ["experiment=paths", "seed=1"], "variant": "gpt"}
    assert tags(["mine", "gpt"], result) == ["mine", "gpt", "paths"]
    assert recipe(["experiment=paths", "experiment=null"]) is None


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("/home/me/my books", "my books"),
        ("/home/a client/books", "books"),
        (Path("~/runs/one"), "one"),
        ({"a": ["/tmp/x", 3, None]}, {"a": ["x", 3, None]}),
        ("/srv/a/result.json: No space left, see ./log/b.txt", "result.json: No space left, see b.txt"),
        ("no room in /srv/a; and/or https://host/page", "no room in a; and/or https://host/page"),
        ("refs/convert/parquet", "refs/convert/parquet"),
        ("EleutherAI/pythia-70m", "EleutherAI/pythia-70m"),
    ],
)
def test_of_a_folder_the_last_part_alone_is_sent(value, sent):
    assert without_folders(value) == sent
