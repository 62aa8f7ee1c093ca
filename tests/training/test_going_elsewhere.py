"""What a run needs to go on on another device, and what is chosen by the device: compiling, deterministic kernels."""

import os

import pytest
import torch

from smallgpt.errors import UserError
from smallgpt.machine import compiler
from smallgpt.machine.device import CUBLAS_WORKSPACE, GPU_SHARE, device
from smallgpt.settings import Trainer
from smallgpt.tasks.train import compiles
from smallgpt.training.checkpoints import random_state, restore_random_state
from smallgpt.training.trainer import build_trainer

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def test_random_numbers_of_gpus_that_are_not_here_are_left_out(monkeypatch):
    state = random_state() | {"cuda": [torch.get_rng_state()] * 2}
    restore_random_state(state)
    given = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda numbers, number: given.append(number))
    restore_random_state(state)
    assert given == [0]


class Asked:
    """The settings that say whether a training is compiled."""

    def __init__(self, compile=None, teacher=None, finetune=None, **trainer):
        self.compile, self.teacher, self.finetune, self.trainer = compile, teacher, finetune, Trainer(**trainer)


def test_a_training_is_compiled_on_a_gpu_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr(compiler, "missing_for_compiling", lambda device: None)
    assert compiles(Asked(), CUDA) and not compiles(Asked(), CPU)
    assert not compiles(Asked(compile=False), CUDA) and compiles(Asked(compile=True), CPU)
    assert not compiles(Asked(strategy="fsdp"), CUDA) and not compiles(Asked(teacher="x"), CUDA)
    assert not compiles(Asked(finetune="x"), CUDA)
    monkeypatch.setattr(compiler, "missing_for_compiling", lambda device: "no Triton")
    assert not compiles(Asked(), CUDA)
    with pytest.raises(UserError, match=r"^compile=true: no Triton, or leave compile out"):
        compiles(Asked(compile=True), CUDA)


@pytest.mark.parametrize(
    ("process", "visible", "current"),
    [
        ({}, 4, []),
        ({"LOCAL_RANK": "2"}, 4, [2]),  # started by us
        ({"TORCHELASTIC_RUN_ID": "a", "RANK": "6", "WORLD_SIZE": "8", "LOCAL_RANK": "2"}, 4, [2]),
        ({"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1"}, 4, [1]),
        ({"LOCAL_RANK": "2"}, 1, []),  # each process sees its own card alone
    ],
)
def test_the_current_gpu_is_that_of_the_process_and_so_is_the_share_of_it(monkeypatch, process, visible, current):
    done = []
    for name in ("LOCAL_RANK", "TORCHELASTIC_RUN_ID", "SLURM_PROCID", CUBLAS_WORKSPACE[0]):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**process, GPU_SHARE: "0.5"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    monkeypatch.setattr(torch.cuda, "set_device", done.append)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", done.append)
    assert device("gpu") == CUDA and done == [*current, 0.5]
    assert os.environ.pop(CUBLAS_WORKSPACE[0])  # before any product, and so whoever asks for deterministic ones later


def test_what_compiling_needs_is_said(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(compiler.shutil, "which", lambda name: None)
    assert "install g++" in (compiler.missing_for_compiling(CPU) or "")
    assert "install gcc" in (compiler.missing_for_compiling(CUDA) or "")
    monkeypatch.setenv("CXX", "c++20")
    assert compiler.missing_for_compiling(CPU) == "CXX=c++20 is not installed"  # PyTorch would start that one alone
    monkeypatch.setattr(compiler.shutil, "which", lambda name: "/bin/false")
    assert compiler.missing_for_compiling(CPU) == "/bin/false: it fails"
    monkeypatch.setattr(compiler.shutil, "which", lambda name: "/bin/true")
    monkeypatch.setattr(compiler, "find_spec", lambda name: None)
    assert compiler.missing_for_compiling(CPU) is None
    assert "pip install triton" in (compiler.missing_for_compiling(CUDA) or "")


def test_deterministic_kernels_are_switched_on_and_by_nobody_else(tmp_path):
    before = torch.are_deterministic_algorithms_enabled()
    try:
        for asked in (False, True, False):
            build_trainer(tmp_path, [], [], deterministic=asked)
            assert torch.are_deterministic_algorithms_enabled() == (before or asked)
            torch.use_deterministic_algorithms(before)
    finally:
        torch.use_deterministic_algorithms(before)
