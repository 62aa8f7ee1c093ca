"""PyTorch's compiler: what it needs on a machine, and how many shapes it may compile."""

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from inspect import signature
from typing import Any

import torch

from smallgpt.errors import UserError, one_line

CXX = "clang++" if sys.platform == "darwin" else "g++"  # that PyTorch starts where the variable CXX names none
C_COMPILERS = ("gcc", "clang")  # that Triton starts where the variable CC names none
PROGRAM = "#include <Python.h>\n#include <omp.h>\n#include <vector>\nint main() { return omp_get_max_threads(); }\n"
PROGRAM_SECONDS = 20.0
MOST_SHAPES = 64  # of one function, which PyTorch's own limit of 8 would refuse
HAS_OWN_LIMIT = "recompile_limit" in signature(torch.compile).parameters  # before PyTorch 2.13 the process has one


def missing_for_compiling(device: torch.device) -> str | None:
    """What the compiler lacks on this machine and how to get it, in words; None where it lacks nothing.

    For a CPU it writes C++, for a GPU Triton, whose launcher is a small C program.
    """
    if device.type == "cpu":
        return missing_for_cpp()
    asked = os.environ.get("CC")
    if not any(map(shutil.which, [asked] if asked else C_COMPILERS)):
        return f"CC={asked} is not installed" if asked else "no C compiler on this machine; install gcc"
    if device.type == "cuda" and find_spec("triton") is None:
        return "triton is not installed, which PyTorch compiles with for a GPU; `pip install triton`"
    return None


def missing_for_cpp() -> str | None:
    """What is wrong with the C++ compiler, which needs OpenMP and Python's headers; None where it takes a program."""
    asked = os.environ.get("CXX")
    path = shutil.which(asked or CXX)
    if path is None:
        return f"CXX={asked} is not installed" if asked else f"no C++ compiler on this machine; install {CXX}"
    command = [path, "-x", "c++", "-fopenmp", "-fsyntax-only", f"-I{sysconfig.get_path('include')}", "-"]
    try:
        done = subprocess.run(command, input=PROGRAM, capture_output=True, text=True, timeout=PROGRAM_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{path}: {one_line(error)}"
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or ["it fails"]
        return f"{path}: {' '.join(lines[0].split())}"
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
