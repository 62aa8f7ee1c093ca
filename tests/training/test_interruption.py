"""Signals to a run that trains: what each of its processes does with them."""

import multiprocessing
import os
import shutil
import signal

import pytest

from smallgpt import stop_signals
from smallgpt.errors import UserError
from smallgpt.stop_signals import Stopped
from smallgpt.tasks import train
from smallgpt.training.metrics import Recorder

RUN = ["budget.tokens=4096", "validation.every=4", "log_every=1", "resume=auto"]
STEPS = 8


@pytest.fixture(autouse=True)
def as_in_a_terminal():
    """Undoes what nohup asked for the tests themselves."""
    kept = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, kept)


@pytest.fixture
def at_step(monkeypatch):
    """Does something in one step, before that step is recorded."""
    record = Recorder.on_train_batch_end

    def at_step(step, act):
        def acting(self, trainer, module, *rest):
            if trainer.global_step == step and self.step < step:
                act()
            record(self, trainer, module, *rest)

        monkeypatch.setattr(Recorder, "on_train_batch_end", acting)

    return at_step


def tell_the_workers() -> None:
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    for worker in workers:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(worker.pid, number)


def test_loader_workers_leave_signals_to_the_main_process(run_task, tmp_path, at_step):
    at_step(3, tell_the_workers)
    result = run_task(train.run, tmp_path, *RUN, "trainer.workers=2")
    assert result["train"]["steps"] == STEPS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_group_saves(run_task, tmp_path, at_step, number):
    def tell_the_group() -> None:
        tell_the_workers()
        os.kill(os.getpid(), number)

    at_step(3, tell_the_group)
    with pytest.raises(Stopped, match=f"{number.name}: saved at step 3; resume=auto goes on"):
        run_task(train.run, tmp_path, *RUN, "trainer.workers=2")
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()


def test_nohup_is_heeded(run_task, tmp_path, at_step, monkeypatch):
    kept = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    at_step(3, lambda: os.kill(os.getpid(), signal.SIGHUP))
    try:
        assert run_task(train.run, tmp_path, *RUN)["train"]["steps"] == STEPS
    finally:
        signal.signal(signal.SIGHUP, kept)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_says_what_happened(run_task, tmp_path, at_step, monkeypatch, number):
    monkeypatch.setattr(stop_signals, "SAME_SECONDS", 0.0)

    def tell_twice() -> None:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)

    at_step(3, tell_twice)
    message = f"{number.name}: told twice, ended in step 3 without saving; resume=auto goes on from the last checkpoint"
    with pytest.raises(Stopped, match=message) as stop:
        run_task(train.run, tmp_path, *RUN)
    assert stop.value.code == 128 + number
    assert not (tmp_path / "checkpoints").exists()


def test_a_signal_in_the_last_step_is_not_forgotten(run_task, tmp_path, at_step):
    received = []
    kept = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    at_step(STEPS, lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        run_task(train.run, tmp_path, *RUN)
    finally:
        signal.signal(signal.SIGTERM, kept)
    assert received == [signal.SIGTERM]


def test_a_removed_folder_ends_the_run_at_its_next_checkpoint(run_task, tmp_path, at_step):
    at_step(6, lambda: shutil.rmtree(tmp_path / "run"))
    with pytest.raises(UserError, match="run: was removed while the run worked, and what it had written is lost"):
        run_task(train.run, tmp_path / "run", *RUN)
    assert not (tmp_path / "run").exists()
