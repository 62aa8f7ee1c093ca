"""`logger=wandb`: offline runs, read back by W&B's own reader."""

import csv
import getpass
import json
import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from smallgpt.errors import UserError
from smallgpt.tasks import train
from smallgpt.training import weights_and_biases
from smallgpt.training.metrics import HEADER, Recorder

pytestmark = pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")

RUN_PY = Path(__file__).parents[2] / "run.py"
SHORT = ["budget.tokens=6144", "validation.every=4", "log_every=2", "optimizer.lr=1e-2"]


class Killed(BaseException):
    """Ends a run where it is."""


def wandb_folders(run_dir: Path) -> list[Path]:
    """One for each time that the run was started."""
    return sorted(path for path in (run_dir / "wandb").glob("*run-*") if not path.is_symlink())


def read(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(folder)]
    env = os.environ | {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in read(folder).splitlines()]
    return [line[kind] for line in lines if line["type"] == kind]


def summary(folder: Path) -> dict[str, Any]:
    return json.loads(read(folder, "--summary"))


def history(folder: Path) -> dict[int, dict[str, float]]:
    """The metrics of each step."""
    items = [record["item"] for record in records(folder, "history")]
    return {item["_step"]: {key: item[key] for key in HEADER if key in item} for item in items}


def recorded(run_dir: Path) -> dict[int, dict[str, float]]:
    """The same from metrics.csv, where training and validation have a row each."""
    steps: dict[int, dict[str, float]] = {}
    with (run_dir / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            values = {key: float(value) for key, value in row.items() if value}
            steps.setdefault(int(values["step"]), {}).update(values)
    return steps


@pytest.fixture(scope="module")
def trained(run_task, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    run_dir = tmp_path_factory.mktemp("trained")
    return run_dir, run_task(train.run, run_dir, *SHORT, "logger=wandb", "logger.tags=[short,first]")


def test_metrics_are_those_of_the_record_against_tokens(trained):
    run_dir, _ = trained
    [folder] = wandb_folders(run_dir)
    assert history(folder) == recorded(run_dir)
    assert sorted(history(folder)) == [2, 4, 6, 8, 10, 12]
    names, everything = records(folder, "metric")
    assert names["name"] == "tokens"
    assert (everything["glob_name"], everything["step_metric"]) == ("*", "tokens")


def test_a_run_ends_finished_with_its_samples(trained):
    run_dir, result = trained
    [folder] = wandb_folders(run_dir)
    read_back = summary(folder)
    assert (read_back["state"], read_back["exit_code"]) == ("finished", 0)
    assert read_back["tags"] == ["short", "first"]
    assert read_back["summary"]["val/loss"] == result["val"]["loss"]
    table = json.loads((folder / "files" / read_back["summary"]["samples"]["path"]).read_text())
    assert table == {"columns": ["text"], "data": [[text] for text in result["samples"]]}


def test_a_single_run_has_no_group(trained):
    [run] = records(wandb_folders(trained[0])[0], "run")
    assert "run_group" not in run and run["project"] == "smallgpt"


def test_a_resumed_run_is_the_same_run(run_task, trained, tmp_path, monkeypatch):
    record = Recorder.on_train_batch_end

    def kill(self, trainer, module, *rest):
        record(self, trainer, module, *rest)
        if trainer.global_step == 10:
            raise Killed

    monkeypatch.setattr(Recorder, "on_train_batch_end", kill)
    words = (*SHORT, "logger=wandb", "resume=auto")
    with pytest.raises(Killed):
        run_task(train.run, tmp_path, *words)
    monkeypatch.undo()
    result = run_task(train.run, tmp_path, *words)

    assert result["val"] == trained[1]["val"]
    first, second = wandb_folders(tmp_path)
    [first_run], [second_run] = records(first, "run"), records(second, "run")
    assert first_run["run_id"] == second_run["run_id"] == (tmp_path / "wandb_id.txt").read_text()
    assert second_run["resume"]
    assert [summary(folder)["state"] for folder in (first, second)] == ["failed", "finished"]
    assert sorted(history(first)) == [2, 4, 6, 8, 10] and sorted(history(second)) == [10, 12]
    assert (trained[0] / "wandb_id.txt").read_text() != second_run["run_id"]


def test_a_run_that_fails_after_its_training_is_failed(run_task, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no sample")

    monkeypatch.setattr(train, "sample", fail)
    with pytest.raises(RuntimeError, match="no sample"):
        run_task(train.run, tmp_path, "budget.tokens=1024", "logger=wandb")
    [folder] = wandb_folders(tmp_path)
    assert summary(folder)["exit_code"] == 1


def test_a_sweep_is_a_group_and_nothing_is_sent(tmp_path):
    text = tmp_path / "text"
    text.mkdir()
    for number in range(40):
        (text / f"{number}.txt").write_text(f"line {number} of a text\n" * 20)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        env = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
        env |= {f"{scheme}_proxy": address for scheme in ("http", "https")} | {"NETRC": "none", "WANDB_MODE": "online"}
        env |= {"HTTP_PROXY": address, "HTTPS_PROXY": address}
        words = ["model=lineargpt", "logger=wandb", "study=widths", "budget.tokens=2048", "seed=5", "log_every=1"]
        data = ["data=files", f"data.path={text}", "data.holdout=0.2", f"cache_dir={tmp_path / 'cache'}"]
        widths = ["model.downsample_position=1", "model.n_layer=2", "model.allow_narrow=true"]
        small = [word for word in SMALL if not word.startswith("model.n_layer")]
        command = [sys.executable, str(RUN_PY), "-m", *words, *data, *small, *widths]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        proxy.settimeout(0.1)
        with pytest.raises(TimeoutError):  # nobody has come
            proxy.accept()
    run_dir = tmp_path / "multirun_outputs" / "widths" / "0"
    [folder] = wandb_folders(run_dir)
    [run] = records(folder, "run")
    assert (run["run_group"], run["job_type"], run["display_name"]) == ("widths", "lineargpt", "lineargpt-0")
    config = run["config"]["update"]
    assert config["seed"] == 5 and config["model"]["n_layer"] == 2 and config["optimizer"]["betas"] == [0.9, 0.95]
    assert config["model"]["vocab_size"] >= 300 and config["validation"]["every"] is None
    private = [str(tmp_path / "cache"), str(RUN_PY.parent), str(Path.home()) + os.sep]
    private += [getpass.getuser()] if getpass.getuser() != "root" else []
    assert not [word for word in private if word in read(folder)]
    assert "wandb" not in (run_dir / "log.txt").read_text()


def test_only_the_first_process_has_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = weights_and_biases.WholeRun(tmp_path, {"mode": "offline"})
    logger.experiment.log({})
    logger.end(failed=True)
    assert not list(tmp_path.iterdir())


def test_disabled_leaves_nothing(run_task, tmp_path):
    run_task(train.run, tmp_path, "budget.tokens=512", "logger=wandb", "logger.mode=disabled")
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.csv", "checkpoints"}


@pytest.mark.parametrize("word", ["logger.mode=onlin", "logger.mod=online", "logger.project=null"])
def test_a_wrong_value_is_refused(run_task, tmp_path, word):
    with pytest.raises(UserError, match=f"^{word}: "):
        run_task(train.run, tmp_path, "logger=wandb", f"+{word}" if "mod=" in word else word)


def test_a_missing_package_or_login_is_refused_before_any_work(run_task, tmp_path, monkeypatch):
    monkeypatch.setattr("wandb.login", lambda **_: False)
    with pytest.raises(UserError, match=r"^logger\.mode=online: not logged in"):
        run_task(train.run, tmp_path, "logger=wandb", "logger.mode=online")
    monkeypatch.setattr(weights_and_biases, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="^logger=wandb: wandb is not installed; `pip install wandb`"):
        run_task(train.run, tmp_path, "logger=wandb")
    assert not list(tmp_path.iterdir())
