"""`logger=wandb`: offline runs, read back by W&B's own reader."""

import csv
import getpass
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from small_words import SMALL
from wandb_runs import history, read, records, summary, wandb_folders

from smallgpt.errors import UserError
from smallgpt.tasks import train
from smallgpt.training import wandb_run, weights_and_biases
from smallgpt.training.metrics import Recorder

RUN_PY = Path(__file__).parents[2] / "run.py"
SHORT = ["budget.tokens=6144", "validation.every=4", "log_every=2", "optimizer.lr=1e-2"]


class Killed(BaseException):
    """Ends a run where it is."""


def models(folder: Path) -> list[dict[str, Any]]:
    """Artifacts that hold a model; W&B makes one for each table too."""
    return [artifact for artifact in records(folder, "artifact") if artifact["type"] == "model"]


def recorded(run_dir: Path) -> dict[int, dict[str, float]]:
    """The same from metrics.csv, where training and validation have a row each."""
    steps: dict[int, dict[str, float]] = {}
    with (run_dir / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            values = {key: float(value) for key, value in row.items() if value}
            steps.setdefault(int(values["step"]), {}).update(values)
    return steps


@pytest.fixture(scope="module", autouse=True)
def nothing_is_sent(tmp_path_factory) -> Iterator[None]:
    """Whoever wants to reach the network comes to this proxy."""
    import wandb

    with socket.create_server(("127.0.0.1", 0)) as proxy, pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp("wandb")))
        patch.setenv("NETRC", os.devnull)  # nobody is logged in
        patch.delenv("WANDB_API_KEY", raising=False)
        yield
        wandb.teardown()
        proxy.settimeout(0.1)
        with pytest.raises(TimeoutError):
            proxy.accept()


@pytest.fixture(scope="module")
def trained(run_task, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    run_dir = tmp_path_factory.mktemp("trained")
    return run_dir, run_task(train.run, run_dir, *SHORT, "logger=wandb", "logger.tags=[short,first]")


def test_metrics_are_those_of_the_record_against_tokens(trained):
    run_dir, _ = trained
    [folder] = wandb_folders(run_dir)
    assert history(folder) == recorded(run_dir)
    assert sorted(history(folder)) == [2, 4, 6, 8, 10, 12]
    *axes, everything = records(folder, "metric")
    assert [axis["name"] for axis in axes] == ["tokens", "flops", "seconds", "step"]
    assert all(axis["options"]["hidden"] for axis in axes)  # a chart of tokens against tokens says nothing
    assert (everything["glob_name"], everything["step_metric"]) == ("*", "tokens")
    [row] = [row for step, row in history(folder).items() if step == 12]
    assert {"train/lr", "train/grad_norm", "speed/tokens_per_second", "val/loss"} <= row.keys()


def test_a_run_ends_finished_with_its_samples(trained):
    run_dir, result = trained
    [folder] = wandb_folders(run_dir)
    read_back = summary(folder)
    assert (read_back["state"], read_back["exit_code"]) == ("finished", 0)
    assert read_back["tags"] == ["short", "first", "gpt"]
    found = read_back["summary"]
    assert found["result/val/loss"] == result["val"]["loss"]
    assert found["result/tokens_per_second"] == result["train"]["tokens_per_second"]
    assert found["result/peak_memory_bytes"] == result["train"]["peak_memory_bytes"] > 1e8
    assert found["parameters/embedding"] == result["cost"]["parameters_by_group"]["embedding"]
    losses = {step: row["val/loss"] for step, row in recorded(run_dir).items() if "val/loss" in row}
    assert found["best/val/loss"] == min(losses.values()) and losses[found["best/step"]] == found["best/val/loss"]
    assert found["last/val/loss"] == losses[12] and found["last/step"] == 12
    table = json.loads((folder / "files" / found["samples"]["path"]).read_text())
    assert table == {"columns": ["text"], "data": [[text] for text in result["samples"]]}
    layers = json.loads((folder / "files" / found["layers"]["path"]).read_text())
    assert sum(row[-1] for row in layers["data"]) == result["cost"]["parameters"]


def test_the_config_says_what_runs_are_told_apart_by(trained):
    run_dir, result = trained
    [folder] = wandb_folders(run_dir)
    config = summary(folder)["config"]
    assert config["variant"] == config["arm"] == "gpt" and config["matched"] is None
    assert config["data_fingerprint"] == result["data_fingerprint"]
    assert config["environment"]["torch"] and config["machine"] == config["environment"]["cpu"]
    assert config["commit"] == config["environment"]["commit"]
    assert config["data"]["path"] == "text"  # its folder is this machine's


def test_where_a_run_can_be_looked_at_is_in_its_result(trained):
    run_dir, result = trained
    place = result["wandb"]
    assert place["id"] == (run_dir / "wandb_id.txt").read_text() and place["url"] is None
    assert place["folder"] == run_dir / "wandb"


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
    assert sorted(history(first)) == [2, 4, 6, 8, 10]
    assert sorted(history(second)) == [2, 4, 6, 8, 10, 12]  # alone it is the whole run
    assert (trained[0] / "wandb_id.txt").read_text() != second_run["run_id"]


def test_a_run_that_fails_after_its_training_is_failed(run_task, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no score")

    monkeypatch.setattr(train, "score_sections", fail)
    with pytest.raises(RuntimeError, match="no score"):
        run_task(train.run, tmp_path, "budget.tokens=1024", "logger=wandb")
    [folder] = wandb_folders(tmp_path)
    found = summary(folder)
    assert found["exit_code"] == 1 and found["summary"]["error"] == "RuntimeError: no score"


def test_histograms_a_checkpoint_and_an_alert_are_logged_where_they_are_asked_for(
    run_task, tmp_path, monkeypatch, trained
):
    [folder] = wandb_folders(trained[0])
    assert "gradients/" not in read(folder) and not models(folder)

    def fail(*_, **__):
        raise UserError(f"{tmp_path}/somewhere: cannot be read")

    monkeypatch.setattr(train, "print_summary", lambda *_: None)
    monkeypatch.setattr(wandb_run.WholeRun, "log_evaluation", fail)
    monkeypatch.setattr("smallgpt.tasks.evaluate.of_run", fail)
    wanted = ("logger.watch=gradients", "logger.log_model=best", "logger.alert=true", "logger.x_axis=flops")
    with pytest.raises(UserError):
        run_task(train.run, tmp_path, "budget.tokens=1024", "log_every=1", "logger=wandb", "eval=quick", *wanted)
    [folder] = wandb_folders(tmp_path)
    rows = [record["item"] for record in records(folder, "history")]
    assert [row["_step"] for row in rows if row.get("gradients/transformer.wte.weight._type") == "histogram"] == [1, 2]
    assert records(folder, "metric")[-1]["step_metric"] == "flops"
    [model] = models(folder)
    files = {entry["path"] for entry in model["manifest"]["contents"]}
    assert {"README.md", "model.safetensors", "config.json", "tokenizer.json"} <= files
    assert "# " in model["description"] and "best" in model["aliases"]  # in no order
    [alert] = records(folder, "alert")
    assert alert["level"] == "ERROR" and alert["text"].startswith("somewhere: cannot be read")


@pytest.mark.slow
def test_a_sweep_is_a_group_of_runs(cli, tmp_path):
    text = tmp_path / "text"
    text.mkdir()
    for number in range(40):
        (text / f"{number}.txt").write_text(f"line {number} of a text\n" * 20)
    words = ["logger=wandb", "study=variants", "hydra/launcher=basic", "budget.tokens=1024", "seed=5"]
    data = ["data=files", f"data.path={text}", "data.holdout=0.2", f"cache_dir={tmp_path / 'cache'}"]
    done = cli("-m", "model=gpt,parallelgpt", "model.n_layer=2", *words, *data, *SMALL[1:])
    assert done.code == 0, done.err
    assert "wandb:" not in done.err + done.out
    listed = (tmp_path / "multirun_outputs" / "variants" / "wandb").glob("offline-run-*")
    assert len(list(listed)) == 2  # one folder for `wandb leet` and `wandb sync`
    ids = set()
    for number, variant in enumerate(("gpt", "parallelgpt")):
        run_dir = tmp_path / "multirun_outputs" / "variants" / str(number)
        [folder] = wandb_folders(run_dir.parent, (run_dir / "wandb_id.txt").read_text())
        [run] = records(folder, "run")
        ids.add(run["run_id"])
        assert run["run_group"] == "variants"
        assert run["job_type"] == variant and run["display_name"] == f"{variant} s5"
        config = run["config"]["update"]
        assert config["seed"] == 5 and config["optimizer"]["betas"] == [0.9, 0.95]
        assert config["model"]["n_layer"] == 2 and ("n_path" in config["model"]) == (variant == "parallelgpt")
        private = {str(tmp_path / "cache"), str(RUN_PY.parent), f"{Path.home()}{os.sep}", getpass.getuser()} - {"root"}
        assert not [word for word in private if word in json.dumps(run)]
    assert len(ids) == 2


def test_a_run_outlives_its_view(run_task, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise ConnectionResetError("Connection lost")

    for name in ("log", "finish"):
        monkeypatch.setattr(f"wandb.Run.{name}", fail)
    result = run_task(train.run, tmp_path, "budget.tokens=1024", "log_every=1", "logger=wandb")
    assert result["train"]["steps"] == 2
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert warnings == ["warning: the run goes on without W&B (ConnectionResetError)"]
    monkeypatch.undo()
    import wandb

    wandb.teardown()


def test_an_evaluation_is_summary_values_and_a_table_a_task(tmp_path):
    items = [
        {"id": 3, "options": ["a cat", "two cats"], "gold": 0, "choice": 0, "loglikelihoods": [-1.0, -2.125]},
        {"id": 5, "options": ["dog", "bird"], "gold": 0, "choice": 1, "loglikelihoods": [-4.0, -3.5]},
    ]
    label = "own/safety [v1.2] (5-shot, 2 items)"
    section = {
        "tasks": {
            label: {"accuracy": 0.5, "at_chance": True, "interval": [0.1, 0.9], "harness": {"acc": 0.5}},
            "последнее слово": {"bits_per_byte": 3.5, "precision": "fp32"},
        },
        "corpora": {"a book.txt": {"bits_per_byte": 2.5, "untrained": {"bits_per_byte": 8.0}}},
        "continuations": {"hit_rate": 0.25},
    }
    options = {"mode": "offline", "project": "smallgpt", "config": {}}
    logger = wandb_run.WholeRun(tmp_path, options)
    logger.log_metrics({"tokens": 512.0, "val/loss": 4.0}, step=7)
    logger.log_evaluation(section, {label: items, "последнее слово": []})
    logger.end()

    [folder] = wandb_folders(tmp_path)
    found = {key: value for key, value in summary(folder)["summary"].items() if key.startswith("evaluation/")}
    task = "evaluation/own_safety_v1_2_5_shot_2_items"
    path = found.pop(task)["path"]
    assert found == {
        f"{task}/accuracy": 0.5,
        f"{task}/at_chance": 1,
        "evaluation/последнее_слово/bits_per_byte": 3.5,
        "evaluation/a_book_txt/bits_per_byte": 2.5,
        "evaluation/continuations/hit_rate": 0.25,
    }
    table = json.loads((folder / "files" / path).read_text())
    assert table["columns"] == ["id", "options", "right", "choice", "correct", "loglikelihoods"]
    assert table["data"] == [
        [3, "a cat\ntwo cats", "a cat", "a cat", True, "-1.00, -2.12"],
        [5, "dog\nbird", "dog", "bird", False, "-4.00, -3.50"],
    ]
    assert history(folder)[7]["val/loss"] == 4.0  # at the step of the last metrics


def test_only_the_first_process_has_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = wandb_run.WholeRun(tmp_path, {"mode": "offline"})
    logger.experiment.log({})
    logger.end("reason")
    assert not list(tmp_path.iterdir())


def test_disabled_leaves_nothing(run_task, tmp_path):
    run_task(train.run, tmp_path, "budget.tokens=512", "logger=wandb", "logger.mode=disabled")
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.csv", "checkpoints"}


@pytest.mark.parametrize("word", ["logger.mode=onlin", "logger.mod=online", "logger.project=null"])
def test_a_wrong_value_is_refused(run_task, tmp_path, word):
    with pytest.raises(UserError, match=f"^{word}: "):
        run_task(train.run, tmp_path, "logger=wandb", f"+{word}" if "mod=" in word else word)


def test_a_missing_login_is_refused_before_any_work(run_task, tmp_path, monkeypatch):
    monkeypatch.setattr("wandb.login", lambda **_: False)
    with pytest.raises(UserError, match=r"^logger\.mode=online: not logged in"):
        run_task(train.run, tmp_path, "logger=wandb", "logger.mode=online")
    assert not list(tmp_path.iterdir())


def test_variables_that_a_wandb_agent_sets_are_heeded_or_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_RUN_ID", "given")
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    monkeypatch.setenv("WANDB_CONSOLE", "wrap")
    weights_and_biases.say_of_variables("offline", None)
    ignored, unheard = capsys.readouterr().err.splitlines()
    assert ignored.startswith("WANDB_CONSOLE: ignored") and "logger.mode=online tells it" in unheard
    weights_and_biases.say_of_variables("online", "sweep")
    assert "WANDB_CONSOLE, WANDB_RUN_ID: ignored" in capsys.readouterr().err
    assert wandb_run.WholeRun(tmp_path, {})._id() == "given"
    (tmp_path / "multirun.yaml").touch()
    (tmp_path / "0").mkdir()
    assert wandb_run.WholeRun(tmp_path / "0", {})._id() != "given"  # one id for all jobs would mix them
