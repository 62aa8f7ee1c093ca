"""A run that was stopped and goes on ends in the same bits as one that was not."""

import csv
import os
from pathlib import Path

import pytest
import torch
from on_gpu import NEEDS_GPU
from safetensors.torch import load_file

from smallgpt.tasks import train, trained
from smallgpt.training.metrics import Recorder

RUN = ["budget.tokens=8192", "validation.every=4", "log_every=1", "resume=auto", "optimizer.lr=1e-2"]


class Killed(BaseException):
    """Nobody catches it, as nobody catches kill -9."""


def rows(run_dir: Path) -> list[dict[str, str]]:
    """metrics.csv without what a clock measured."""
    with (run_dir / "metrics.csv").open() as file:
        clocks = ("seconds", "speed/tokens_per_second", "speed/mfu")
        return [{k: v for k, v in row.items() if k not in clocks} for row in csv.DictReader(file)]


@pytest.mark.parametrize("killed_at", [7, *(pytest.param(step, marks=pytest.mark.slow) for step in (2, 4, 15))])
@pytest.mark.parametrize(
    "options",
    [
        ["model.dropout=0.2", "trainer.precision=fp32", "optimizer=adamw"],
        ["model.dropout=0.2", "trainer.precision=bf16", "batch.micro=4"],
        ["trainer.workers=2", "batch.micro=4", "optimizer=muon"],
        pytest.param(
            ["trainer=gpu", "trainer.deterministic=true", "compile=false", "model.dropout=0.2"], marks=NEEDS_GPU
        ),
    ],
    ids=["dropout-adamw", "bf16-accumulation", "workers-muon", "gpu"],
)
def test_the_same_bits(run_task, tmp_path, monkeypatch, options, killed_at):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    expected = run_task(train.run, whole, *RUN, *options)

    record = Recorder.on_train_batch_end

    def kill(self, trainer, module, *rest):
        record(self, trainer, module, *rest)
        if trainer.global_step == killed_at:
            raise Killed

    monkeypatch.setattr(Recorder, "on_train_batch_end", kill)
    with pytest.raises(Killed):
        run_task(train.run, halves, *RUN, *options)
    monkeypatch.undo()
    result = run_task(train.run, halves, *RUN, *options)

    assert rows(halves) == rows(whole)
    assert result["val"] == expected["val"] and result["samples"] == expected["samples"]
    for name in ("best", "last"):
        weights = [load_file(d / "checkpoints" / name / "model.safetensors") for d in (whole, halves)]
        assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    states = [torch.load(d / "checkpoints" / "last.ckpt", weights_only=True) for d in (whole, halves)]
    assert states[0]["global_step"] == states[1]["global_step"] == 16
    assert str(states[0]["optimizer_states"]) == str(states[1]["optimizer_states"])


@pytest.mark.parametrize("damage", ["cut", "changed", "removed"])
def test_rows_of_the_checkpoint_are_kept_with_it(run_task, tmp_path, monkeypatch, capsys, damage):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    words = [*RUN, "budget.tokens=4096"]
    run_task(train.run, whole, *words)
    record = Recorder.on_train_batch_end

    def kill(self, trainer, module, *rest):
        record(self, trainer, module, *rest)
        if trainer.global_step == 7:
            raise Killed

    monkeypatch.setattr(Recorder, "on_train_batch_end", kill)
    with pytest.raises(Killed):
        run_task(train.run, halves, *words)
    monkeypatch.undo()
    path = halves / "metrics.csv"
    lines = path.read_text().splitlines(keepends=True)
    if damage == "removed":
        path.unlink()
    else:
        path.write_text("".join(lines[:4]) if damage == "cut" else "".join([*lines[:2], "1,2,x\n", *lines[3:]]))
    capsys.readouterr()
    run_task(train.run, halves, *words)
    said = [line for line in capsys.readouterr().err.splitlines() if "metrics.csv" in line]
    assert said == [f"{path}: rows were lost or changed; those of the checkpoint, 5, are written again"]
    assert rows(halves) == rows(whole)


@pytest.mark.parametrize("budget", [["budget.tokens=8192"], ["budget=seconds", "budget.seconds=0.5"]], ids=str)
def test_a_run_that_was_cut_off_after_its_last_step_trains_no_more(run_task, tmp_path, monkeypatch, budget):
    words = [*RUN[1:], *budget, "model.dropout=0.2"]

    def kill(*_):
        raise Killed

    monkeypatch.setattr(trained, "samples", kill)
    with pytest.raises(Killed):
        run_task(train.run, tmp_path, *words)
    before, recorded = load_file(tmp_path / "checkpoints/last/model.safetensors"), rows(tmp_path)
    spent = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["seconds_beside"]
    with pytest.raises(Killed):  # again at each attempt
        run_task(train.run, tmp_path, *words)
    monkeypatch.undo()
    result = run_task(train.run, tmp_path, *words)
    after = load_file(tmp_path / "checkpoints/last/model.safetensors")
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert rows(tmp_path) == recorded
    assert result["train"]["steps"] == int(recorded[-1]["step"]) and result["samples"]
    assert result["train"]["tokens"] == 512 * result["train"]["steps"]
    beside = result["train"]["seconds_beside"]
    assert beside["validation"] >= spent["validation"] > 0 and beside["checkpoints"] >= spent["checkpoints"] > 0
    assert beside["scoring"] > 0 and beside["samples"] > 0


def test_loading_a_checkpoint_executes_nothing(run_task, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'executed'}",)

    (tmp_path / "checkpoints").mkdir()
    torch.save({"state_dict": {}, "bomb": Bomb()}, tmp_path / "checkpoints" / "last.ckpt")
    with pytest.raises(Exception):  # noqa: B017  whatever it is, the file is not believed
        run_task(train.run, tmp_path, *RUN)
    assert not (tmp_path / "executed").exists()
