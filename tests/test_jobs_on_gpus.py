"""Jobs of a sweep on the GPUs of this machine: one on each by default, or several with a share of one."""

from pathlib import Path

import pytest
import torch

from smallgpt.launch.sweep_job import SweepJob
from smallgpt.launch.this_machine import ThisMachine
from smallgpt.machine.device import GPU_SHARE, gpu_share, visible_gpus
from smallgpt.settings import Trainer


def placed(machine, devices, slots):
    """What each slot's job is told of the GPUs, and of its share of one."""
    trainer = Trainer(accelerator="gpu", devices=devices)
    machine.check(trainer)
    job = SweepJob(Path("."), [], trainer, 0)
    told = [machine.environment(job.trainer, slot) for slot in range(slots)]
    return [each["CUDA_VISIBLE_DEVICES"] for each in told], {float(each[GPU_SHARE]) for each in told}


@pytest.fixture(autouse=True)
def four_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")


@pytest.mark.parametrize(
    ("n_jobs", "devices", "at_once", "gpus", "share"),
    [
        (None, 1, 4, ["4", "5", "6", "7"], 1.0),
        (None, 2, 2, ["4,5", "6,7"], 1.0),
        (2, 1, 2, ["4", "5"], 1.0),
        (8, 1, 8, ["4", "5", "6", "7", "4", "5", "6", "7"], 0.5),
        (4, 2, 4, ["4,5", "6,7", "4,5", "6,7"], 0.5),
    ],
)
def test_jobs_are_spread_over_the_gpus(n_jobs, devices, at_once, gpus, share):
    machine = ThisMachine(n_jobs)
    assert placed(machine, devices, len(gpus)) == (gpus, {share})
    assert machine.n_jobs == at_once


def test_on_a_cpu_there_is_one_job_unless_more_are_asked_for():
    for n_jobs in (None, 3):
        machine = ThisMachine(n_jobs)
        machine.check(Trainer(accelerator="cpu"))
        assert machine.n_jobs == machine.jobs_on_a_device(Trainer(accelerator="cpu")) == (n_jobs or 1)


def test_gpus_are_those_that_are_visible(monkeypatch):
    assert visible_gpus() == ["4", "5", "6", "7"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert visible_gpus() == ["0", "1"]


@pytest.mark.parametrize(("told", "share"), [("0.25", 0.25), ("", 1.0), ("x", 1.0)])
def test_a_job_knows_its_share(monkeypatch, told, share):
    monkeypatch.setenv(GPU_SHARE, told)
    assert gpu_share() == share
