"""Signals to a run and to its helpers: the wish of each is known, results survive them, and nobody is left behind."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import CommandLine
from filelock import FileLock

from smallgpt import stop_signals
from smallgpt.ranks import ROOT
from smallgpt.stop_signals import StopRequest, leave_signals_to_the_main_process

WORK = """
from smallgpt.targets import task
import json, os, shutil, signal, sys, time
from pathlib import Path

@task
def fine(settings, run_dir):
    return {}

@task
def told(settings, run_dir):
    os.kill(os.getpid(), getattr(signal, os.environ["TOLD"]))

@task
def told_while_it_cleans_up(settings, run_dir):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        Path("cleaned").touch()

class Torn:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)  # where Python calls the handler

@task
def told_in_a_destructor(settings, run_dir):
    Torn()
    time.sleep(20)

@task
def says_status(settings, run_dir):
    status = json.loads((run_dir / "result.json").read_text())["status"]
    return {"status while it worked": status}

@task
def loses_its_folder(settings, run_dir):
    shutil.rmtree(run_dir)
    if settings.seed == 2:
        (run_dir / "checkpoints").mkdir(parents=True)
    return {}
"""


@pytest.fixture(autouse=True)
def as_in_a_terminal():
    """Undoes what nohup, or a shell's `&`, asked for the tests themselves."""
    usual = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    kept = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture
def work(cli: CommandLine, monkeypatch: pytest.MonkeyPatch):
    (cli.folder / "work.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(cli.folder))
    yield
    sys.modules.pop("work", None)


def test_a_signal_that_is_told_twice_at_once_asks_once(monkeypatch):
    request = StopRequest()
    assert request.is_new(signal.SIGTERM) and not request.is_new(signal.SIGTERM)  # as `timeout` does
    monkeypatch.setattr(stop_signals, "SAME_SECONDS", 0.0)
    assert request.is_new(signal.SIGINT) and request.number == signal.SIGTERM


CLOSED = """
import signal, sys, time
from smallgpt.stop_signals import StopRequest
request, told = StopRequest(), []
signal.signal(signal.SIGHUP, lambda number, _: told.append(request.is_new(number)))
print("ready", flush=True)
while not told:
    time.sleep(0.01)
print("goes nowhere", flush=True)
"""


def test_a_closed_terminal_breaks_no_print():
    terminal, inside = os.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", CLOSED],
        stdin=inside,
        stdout=inside,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, 0x540E, 0),  # TIOCSCTTY: its controlling terminal
    )
    os.close(inside)
    assert os.read(terminal, 5) == b"ready"
    os.close(terminal)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 0, err.decode()


def test_a_process_whose_starter_is_gone_ends_before_it_imports_anything_heavy():
    gone = subprocess.Popen(["true"])
    gone.wait()
    command = [sys.executable, "-X", "importtime", "-P", "-m", "smallgpt.launch.process", "/nowhere", str(gone.pid)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "smallgpt.ranks" in loaded and not {"hydra", "omegaconf", "filelock", "torch"} & loaded


def test_a_worker_leaves_signals_to_the_main_process_and_ends_with_it():
    reader, writer = multiprocessing.Pipe()

    def main() -> None:
        worker = multiprocessing.Process(target=works)
        worker.start()
        writer.send(worker.pid)
        worker.join()

    def works() -> None:
        leave_signals_to_the_main_process()
        writer.send("ready")
        time.sleep(60)

    starter = multiprocessing.get_context("fork").Process(target=main)
    starter.start()
    number, _ = reader.recv(), reader.recv()
    for told in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        os.kill(number, told)
    time.sleep(0.1)
    assert Path(f"/proc/{number}").exists()
    starter.kill()
    starter.join()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{number}/cmdline").exists() and Path(f"/proc/{number}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGUSR2"])
def test_every_signal_leaves_a_result_that_names_it(cli, work, monkeypatch, name):
    monkeypatch.setenv("TOLD", name)
    done = cli("task._target_=work.told", "hydra.run.dir=run")
    assert done.code == 128 + getattr(signal, name)
    assert done.err == f"error: {name}: stopped; resume=auto goes on from the last checkpoint, if any\n"
    assert json.loads(Path("run/result.json").read_text())["status"] == "interrupted"


def test_a_signal_where_no_exception_gets_out_stops_the_work_all_the_same(cli, work):
    begun = time.monotonic()
    done = cli("task._target_=work.told_in_a_destructor", "hydra.run.dir=run")
    assert done.code == 128 + signal.SIGTERM and time.monotonic() - begun < 15
    assert done.err.startswith("error: SIGTERM: stopped;") and "Exception ignored" not in done.err
    assert json.loads(Path("run/result.json").read_text())["status"] == "interrupted"


def test_a_signal_that_comes_twice_interrupts_no_cleaning_up(cli, work):
    done = cli("task._target_=work.told_while_it_cleans_up", "hydra.run.dir=run")
    assert done.code == 128 + signal.SIGTERM and Path("cleaned").exists()
    assert json.loads(Path("run/result.json").read_text())["status"] == "interrupted"


def test_a_signal_after_the_work_loses_no_result(cli, work, monkeypatch):
    def told() -> dict:
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    monkeypatch.setattr("smallgpt.launch.job.environment", told)
    done = cli("task._target_=work.fine", "hydra.run.dir=run")
    assert done.code == 0
    assert json.loads(Path("run/result.json").read_text())["status"] == "completed"


def test_the_result_of_an_earlier_life_says_running_while_the_next_one_works(cli, work, monkeypatch):
    monkeypatch.setenv("TOLD", "SIGTERM")
    assert cli("task._target_=work.told", "hydra.run.dir=run").code == 143
    done = cli("task._target_=work.says_status", "hydra.run.dir=run", "resume=auto")
    assert done.result["status while it worked"] == "running" and done.result["status"] == "completed"


def test_two_runs_never_work_in_one_directory(cli, work):
    run = cli.folder / "run"
    run.mkdir()
    with FileLock(run / ".lock"):
        message = cli.refused("task._target_=work.fine", "hydra.run.dir=run").removeprefix("hydra.run.dir=run: ")
        assert message == "another process is at work in it; wait for it, or choose another directory"
    assert cli("task._target_=work.fine", "hydra.run.dir=run").code == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_whose_folder_was_removed_is_not_completed(cli, work, seed):
    done = cli("task._target_=work.loses_its_folder", "hydra.run.dir=run", f"seed={seed}")
    assert done.code == 1 and done.result["status"] == "failed"
    assert done.err.endswith("run: was removed while the run worked, and what it had written is lost\n")
    shutil.rmtree("run", ignore_errors=True)


@pytest.mark.parametrize("after_the_work", [False, True])
def test_a_signal_to_one_job_ends_a_sweep_in_this_process(cli, work, monkeypatch, after_the_work):
    monkeypatch.setenv("TOLD", "SIGTERM")
    if after_the_work:
        monkeypatch.setattr("smallgpt.launch.job.environment", lambda: os.kill(os.getpid(), signal.SIGTERM) or {})
    task = "work.fine" if after_the_work else "work.told"
    words = ("seed=1,2", "hydra/launcher=basic", "hydra.sweep.dir=sweep")
    assert cli("-m", f"task._target_={task}", *words).code == 128 + signal.SIGTERM
    status = json.loads(Path("sweep/0/result.json").read_text())["status"]
    assert status == ("completed" if after_the_work else "interrupted") and not Path("sweep/1").exists()
