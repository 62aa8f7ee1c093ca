"""task=watch: the jobs of a running sweep as their files show them, the view of it, and when it has ended."""

import json
import os
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
from command_line import RUN, CommandLine
from omegaconf import OmegaConf
from rich.console import Console

from smallgpt.errors import UserError
from smallgpt.launch.starter import Starter
from smallgpt.launch.sweep_report import SweepReport
from smallgpt.reporting.live_jobs import LiveJob, MetricsTail, spent
from smallgpt.reporting.live_sweep import LiveSweep
from smallgpt.reporting.live_view import Lines, view
from smallgpt.run_directory import AT_WORK
from smallgpt.tasks import watch

HEADER = "step,tokens,seconds,flops,train/loss,speed/tokens_per_second,val/loss\n"


def begun(sweep: Path, number: int, *words: str, tokens: int = 4000, ago: float = 100.0, arm: str = "gpt") -> Path:
    """A job that a sweep has prepared so many seconds ago."""
    run_dir = sweep / str(number)
    run_dir.mkdir(parents=True)
    config = {"budget": {"tokens": tokens, "flops": None, "epochs": None, "seconds": None}}
    (run_dir / "config.yaml").write_text(json.dumps(config))
    (run_dir / ".job.json").write_text(json.dumps({"overrides": ["size=debug", *words], "arm": arm}))
    for name in ("config.yaml", ".job.json"):
        at(run_dir / name, ago)
    return run_dir


def at(path: Path, ago: float) -> None:
    """Gives a file the time of so many seconds ago."""
    os.utime(path, (time.time() - ago,) * 2)


def trained(run_dir: Path, *rows: tuple, ago: float = 1.0) -> Path:
    """Rows of (step, tokens, seconds, training loss, validation loss)."""
    lines = [f"{step},{tokens},{seconds},,{loss},500,{val}\n" for step, tokens, seconds, loss, val in rows]
    (run_dir / "metrics.csv").write_text(HEADER + "".join(lines))
    at(run_dir / "metrics.csv", ago)
    return run_dir


def ended(run_dir: Path, status: str, ago: float = 1.0, **more) -> None:
    (run_dir / "result.json").write_text(json.dumps({"status": status, **more}))
    at(run_dir / "result.json", ago)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep with a job in each state: completed, running, failed, waiting, and one that goes on again."""
    folder = tmp_path / "sweep"
    first = trained(begun(folder, 0, "model=gpt", "seed=1"), (10, 4000, 40.0, 4.0, 3.9))
    at(first / "config.yaml", 61)
    ended(first, "completed")
    trained(
        begun(folder, 1, "model=canon", "seed=1", arm="canon"), (5, 1000, 10.0, 3.0, 3.5), (6, 1200, 12.0, 3.1, 3.6)
    )
    ended(begun(folder, 2, "model=gpt", "seed=2"), "failed", error="no more\nof this")
    begun(folder, 3, "model=canon", "seed=2", arm="canon")
    ended(begun(folder, 4, "model=gpt", "seed=3", ago=10.0), "interrupted", ago=500.0)
    return folder


def test_each_job_is_in_the_state_that_its_files_show(sweep: Path):
    live = LiveSweep(sweep)
    assert [job.state for job in live.in_order] == ["completed", "running", "failed", "waiting", "waiting"]
    assert (live.ended, live.total, live.to_come, live.is_complete, live.is_over) == (2, 5, 2, False, False)
    running = live.jobs["1"]
    assert running.progress == 0.3 and running.seconds_left == pytest.approx(28.0)
    assert running.metrics.lowest == 3.5 and running.metrics.latest["val/loss"] == 3.6
    assert running.tokens_per_second == 500.0 and live.jobs["0"].seconds == pytest.approx(60, abs=1)
    # 28 s of this one, and two of a minute each
    assert live.seconds_left == pytest.approx(148, abs=2)
    assert [job.name for job in live.lowest] == ["1"]
    assert live.names()["1"] == "canon seed=1"


def test_losses_on_different_texts_are_not_compared(tmp_path: Path):
    for number, (words, val) in enumerate([("data=a", 4.0), ("data=b", 1.0), ("data=a", 3.0)]):
        trained(begun(tmp_path, number, words), (1, 100, 1.0, 5.0, val))
    assert [job.name for job in LiveSweep(tmp_path).lowest] == ["2", "1"]


def test_a_growing_file_is_read_line_by_line_and_one_that_was_replaced_again(tmp_path: Path):
    path = tmp_path / "metrics.csv"
    tail = MetricsTail(path)
    tail.read()
    assert tail.latest == {}
    path.write_text(HEADER + "1,100,1.0,,5.0,9,4.5\n2,200,2.0,,4.9")
    tail.read()
    assert tail.latest["step"] == 1 and tail.lowest == 4.5
    with path.open("a") as file:
        file.write(",9,nan\n")
    tail.read()
    assert (tail.latest["step"], tail.latest["train/loss"], tail.lowest) == (2, 4.9, 4.5)
    other = tmp_path / "other"
    other.write_text(HEADER + "1,100,1.0,,5.0,9,4.7\n")
    os.replace(other, path)  # a run that goes on from a checkpoint
    tail.read()
    assert tail.latest["step"] == 1 and tail.lowest == 4.7


@pytest.mark.parametrize(
    ("budget", "latest", "fraction"),
    [
        ({"tokens": 100, "flops": None}, {"tokens": 25.0}, 0.25),
        ({"tokens": None, "flops": 8.0}, {"flops": 4.0}, 0.5),
        ({"seconds": 10.0}, {"seconds": 20.0}, 1.0),
        ({"epochs": 2}, {"tokens": 25.0}, None),
        ({"tokens": None}, {"tokens": 70_000.0}, 0.1),
        ({"tokens": 100}, {}, None),
    ],
)
def test_the_part_of_a_budget_that_is_spent(budget, latest, fraction):
    assert spent(budget, latest) == fraction


def test_a_sweep_is_over_when_nothing_works_on_it(sweep: Path):
    live = LiveSweep(sweep)
    beat = sweep / AT_WORK
    for job in live.in_order:
        job.moved -= 100.0
    assert not live.is_over  # job 1 may compute something long
    live.jobs["1"].moved -= 1000.0
    assert live.is_over
    beat.touch()
    assert not live.is_over
    at(beat, 100)
    assert live.is_over
    for job in live.in_order:
        job.state = "completed"
        job.moved = time.time()
    assert live.is_over
    live.planned = 6  # of a search, which chooses its next job now
    assert not live.is_over


def test_a_sweep_that_still_checks_its_jobs_is_not_over(tmp_path: Path):
    (tmp_path / "multirun.yaml").write_text("hydra: {}")
    assert not LiveSweep(tmp_path).is_over
    at(tmp_path / "multirun.yaml", 100)
    assert LiveSweep(tmp_path).is_over


def test_a_sweep_says_that_it_is_at_work_until_it_has_ended(sweep: Path):
    for path in sweep.glob("*/result.json"):  # nothing to report
        path.unlink()
    Starter(sweep, [], machines=None).beat()  # ty: ignore[invalid-argument-type]
    assert (sweep / AT_WORK).exists()
    with pytest.raises(SystemExit):
        SweepReport().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(sweep)}}}))
    assert not (sweep / AT_WORK).exists()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_view_keeps_to_the_terminal(sweep: Path, width: int):
    for number in range(5, 40):
        begun(sweep, number, "model=gpt", f"seed={number}")
    console = Console(width=width, height=24, record=True, file=StringIO(), force_terminal=True)
    console.print(view(LiveSweep(sweep), width, 24))
    lines = console.export_text().splitlines()
    assert len(lines) <= 23 and max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "2 of 40 jobs done, 1 failed, 1 running, 37 waiting; about" in " ".join(text.split())
    assert "lowest validation loss so far: 3.5000 (job 1, canon seed=1" in text
    rows = [line.split()[0] for line in lines[lines.index("") + 2 :]]
    assert rows[:4] == ["1", "2", "0", "3"] and lines[-2].startswith("and 2")
    assert lines[-1] == "job 2 failed: no more of this"
    running = next(line for line in lines if line.startswith("1 "))
    assert "canon" in running and "30%" in running and "3.6000" in running and "0:28 left" in running
    assert ("3.1000" in running) == (width > 60)


def test_what_a_name_commands_a_terminal_is_not_done(tmp_path: Path):
    begun(tmp_path, 0, "model=gpt", "seed=1", arm="gpt prompt=\x1b[2J")
    trained(tmp_path / "0", (1, 100, 1.0, 5.0, 4.0))
    console = Console(width=100, height=24, record=True, file=StringIO())
    console.print(view(LiveSweep(tmp_path), 100, 24))
    text = console.export_text()
    assert "\x1b" not in text and "\\x1b[2J" in text


def test_lines_say_what_is_new_once(sweep: Path):
    live = LiveSweep(sweep)
    lines = Lines(live)
    assert list(lines.news()) == [
        "[2/5] 0 gpt seed=1: completed, lowest validation loss 3.9000, 1:00",
        "[2/5] 1 canon seed=1: running",
        "[2/5] 2 gpt seed=2: failed: no more of this",
    ]
    assert list(lines.news()) == []
    standing, running, lowest = lines.summary()
    assert standing.startswith("2 of 5 jobs done, 1 failed, 1 running, 2 waiting; about 2:2")
    assert running == (
        "  1 canon seed=1: running, 30% done, step 6, train loss 3.1000, val loss 3.6000, 500 tokens/s, 0:28 left"
    )
    assert lowest == "lowest validation loss so far: 3.5000 (job 1, canon seed=1, 30% of its training)"


def test_a_sweep_is_watched_to_its_end(cli: CommandLine, sweep: Path, monkeypatch: pytest.MonkeyPatch):
    def end(_: float) -> None:
        for number in (1, 3, 4):
            ended(trained(sweep / str(number), (10, 4000, 40.0, 3.0, 3.4)), "completed")

    monkeypatch.setattr(watch.time, "sleep", end)
    before = {path.relative_to(sweep) for path in sweep.rglob("*")}
    done = cli("task=watch", f"sweep={sweep}")
    assert done.code == 0 and done.err == ""
    lines = done.out.splitlines()
    assert any(line.startswith("[5/5] 4 gpt seed=3: completed, lowest validation loss 3.4000, 0:") for line in lines)
    assert lines[-4] == "5 of 5 jobs done, 1 failed" and "goes on with what is left" in lines[-2]
    assert done.result["watched"]["states"] == {"completed": 4, "failed": 1}
    assert done.result["watched"]["lowest"] == [{"job": "1", "val_loss": 3.4}]
    assert {path.relative_to(sweep) for path in sweep.rglob("*")} == before | {
        Path(str(number), name) for number in (1, 3, 4) for name in ("result.json", "metrics.csv")
    }


def test_what_cannot_be_watched_is_refused(cli: CommandLine, sweep: Path):
    assert "sweep=null: task=watch takes the directory of one sweep" in cli("task=watch").err
    assert "did you mean 'sweep'?" in cli("task=watch", f"sweep={sweep.parent / 'swep'}").err
    with pytest.raises(UserError, match="is a single run; give the directory of a sweep"):
        LiveSweep(sweep / "0")
    (cli.folder / "empty").mkdir()
    with pytest.raises(UserError, match="holds no job"):
        LiveSweep(Path("empty"))


def test_watching_loads_no_pytorch(sweep: Path, tmp_path: Path):
    for number in (1, 3, 4):
        ended(sweep / str(number), "failed")
    command = [sys.executable, "-X", "importtime", str(RUN), "task=watch", f"sweep={sweep}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "rich" in loaded and not {"torch", "lightning", "transformers"} & loaded


def test_an_unfinished_line_of_json_is_no_job_of_ours(tmp_path: Path):
    run_dir = begun(tmp_path, 0, "model=gpt")
    (run_dir / ".job.json").write_text("{")
    job = LiveJob("0", run_dir)
    job.refresh()
    assert job.words == [] and job.config["budget"]["tokens"] == 4000
