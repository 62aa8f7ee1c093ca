"""Ranks: the place of this process in a distributed run, and how another process is started and ends with it."""

import ctypes
import os
import sys
import sysconfig
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The folder that holds the package: a checkout, or site-packages."""
INSTALLED = ROOT in {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
"""Whether this Python finds the package by itself."""
# linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def started_by() -> tuple[str, int, int] | None:
    """Program that started this process as one of several, its number among them, and how many they are."""
    env = os.environ
    if {"TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE"} <= env.keys():
        return "torchrun", int(env["RANK"]), int(env["WORLD_SIZE"])
    if "SLURM_PROCID" in env and (tasks := int(env.get("SLURM_STEP_NUM_TASKS", "1"))) > 1:
        return "srun", int(env["SLURM_PROCID"]), tasks
    return None


def is_first_process() -> bool:
    """Whether this process is the one that prints and writes."""
    if starter := started_by():
        return starter[1] == 0
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def local_rank() -> int:
    """Number of this process among those of its run on this machine."""
    outside = started_by()
    return int(os.environ.get("SLURM_LOCALID" if outside and outside[0] == "srun" else "LOCAL_RANK", "0"))


def job_command(run_dir: Path) -> list[str]:
    """Command that runs the job of a run directory in a process of its own, which ends with this one."""
    # -P: a file of the current folder named like a module of Python's is none of a job's business
    return [sys.executable, "-P", "-m", "smallgpt.launch.process", str(run_dir.absolute()), str(os.getpid())]


def end_with_the_starter(number: int, starter: int | None = None) -> None:
    """Has Linux send this process a signal when the one that started it is gone, even by kill -9.

    Args:
        starter: number of that process; one that was gone before Linux was asked ends this one at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if starter is not None and os.getppid() != starter:
        os._exit(1)


@contextmanager
def adopts_orphans() -> Generator[None]:
    """Context in which a process whose parent has ended becomes a child of this one, if it descends from it.

    Raises OSError where the system cannot do that.
    """
    libc = ctypes.CDLL(None)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1) != 0:
        raise OSError("prctl: no PR_SET_CHILD_SUBREAPER")
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0)


def python_path() -> str:
    """PYTHONPATH for a process that is to import smallgpt, and what this process was given, wherever it is started."""
    given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return os.pathsep.join([*([] if INSTALLED else [str(ROOT)]), *map(os.path.abspath, given)])
