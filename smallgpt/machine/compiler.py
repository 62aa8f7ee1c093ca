"""PyTorch's compiler: what it needs on a machine, and how many shapes it may compile."""

import shutil
from importlib.util import find_spec
from inspect import signature
from typing import Any

import torch

from smallgpt.errors import UserError

COMPILERS = ("c++", "g++", "clang++")
C_COMPILERS = ("cc", "gcc", "clang")
MOST_SHAPES = 64  # of one function, which PyTorch's own limit of 8 would refuse
HAS_OWN_LIMIT = "recompile_limit" in signature(torch.compile).parameters  # before PyTorch 2.13 the process has one


def missing_for_compiling(device: torch.device) -> str | None:
    """What the compiler lacks on this machine and how to get it, in words; None where it lacks nothing.

    For a CPU it writes C++, for a GPU Triton, whose launcher is a small C program.
    """
    needed = COMPILERS if device.type == "cpu" else C_COMPILERS
    if not any(map(shutil.which, needed)):
        kind = "C++" if device.type == "cpu" else "C"
        return f"no {kind} compiler on this machine; install {'g++' if device.type == 'cpu' else 'gcc'}"
    if device.type == "cuda" and find_spec("triton") is None:
        return "triton is not installed, which PyTorch compiles with for a GPU; `pip install triton`"
    return None


def refuse_compiling(device: torch.device) -> None:
    """Raises UserError where this machine has not what PyTorch compiles with."""
    if missing := missing_for_compiling(device):
        raise UserError(f"compile=true: {missing}, or leave compile out")


def shape_limits() -> dict[str, Any]:
    """Options of `torch.compile` with which a function may be compiled for `MOST_SHAPES` shapes."""
    if HAS_OWN_LIMIT:
        return {"recompile_limit": MOST_SHAPES}
    dynamo: Any = torch._dynamo.config  # typed by its default alone
    dynamo.recompile_limit = MOST_SHAPES
    return {}
