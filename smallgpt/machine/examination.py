"""Examination of this machine: what a run needs of it, each in one verdict, and nothing that can hang."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from smallgpt.errors import one_line
from smallgpt.machine.cores import available_cores
from smallgpt.machine.memory import free_bytes, gigabytes, total_bytes

BUSY = 0.5  # waiting or running processes a core, above which times say little
LEAST_MEMORY, LEAST_DISK, LITTLE_DISK = 1.5e9, 0.5e9, 5e9
LITTLE_SHARED = 512 * 2**20
TRAINING_BYTES = 16  # of each parameter: itself, its gradient and two moments


@dataclass(frozen=True)
class Verdict:
    """What was found out about one thing that runs may need."""

    subject: str
    level: Literal["ok", "note", "fails"]
    """`note`: something that is not the default will not work, or not well; `fails`: no run will."""
    text: str

    def __str__(self) -> str:
        return f"{self.level:<6} {self.subject:<18} {self.text}"


def cores() -> Verdict:
    """Cores that this process may use, and whether something else uses them now."""
    usable, all_of_them, load = available_cores(), os.cpu_count() or 1, os.getloadavg()[0]
    text = f"{usable} of {all_of_them}"
    if load > BUSY * usable:
        return Verdict(
            "cores", "note", f"{text}, with a load of {load:.1f}: busy, so times that are measured now say little"
        )
    return Verdict("cores", "ok", f"{text}, with a load of {load:.1f}")


def memory() -> Verdict:
    """Memory that is free, and how large a model it can train."""
    total, free = total_bytes(), free_bytes()
    if total is None or free is None:
        return Verdict("memory", "note", "the system does not say how much is free")
    text = f"{gigabytes(free)} free of {gigabytes(total)}"
    if free < LEAST_MEMORY:
        return Verdict("memory", "fails", f"{text}; the libraries alone take about {gigabytes(LEAST_MEMORY)}")
    most = f"{(free - LEAST_MEMORY / 2) / TRAINING_BYTES / 1e6:,.0f} M parameters"
    return Verdict("memory", "ok", f"{text}: training {most} takes all of it, task=inspect says what a model takes")


def shared_memory(path: Path = Path("/dev/shm")) -> Verdict:
    """Shared memory, through which the processes that load batches hand them over."""
    if not path.is_dir():
        return Verdict("shared memory", "note", f"no {path}: trainer.workers over 0 will not work")
    size = shutil.disk_usage(path).total
    if size < LITTLE_SHARED:
        return Verdict("shared memory", "note", f"{gigabytes(size)} alone: trainer.workers over 0 may end a run")
    return Verdict("shared memory", "ok", gigabytes(size))


def folder(subject: str, path: Path) -> Verdict:
    """Whether a folder, or where it will be made, can be written, has room, and whether files in it can be locked."""
    there = next((each for each in (path.absolute(), *path.absolute().parents) if each.is_dir()), Path("/"))
    try:
        with tempfile.TemporaryDirectory(prefix=".smallgpt-", dir=there) as inside:
            (Path(inside) / "file").write_bytes(b"0" * 4096)
            with FileLock(Path(inside) / ".lock", timeout=0):
                pass
        free = shutil.disk_usage(there).free
    except (OSError, Timeout, NotImplementedError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
        return Verdict(subject, "fails", f"{there}: no file can be written and locked there ({reason})")
    text = f"{gigabytes(free)} free in {there}"
    if free < LEAST_DISK:
        return Verdict(subject, "fails", f"{text}: a run would fill it")
    if free < LITTLE_DISK:
        return Verdict(subject, "note", f"{text}: a few checkpoints, or one corpus, fill it")
    return Verdict(subject, "ok", text)


def compiler() -> Verdict:
    """C++ compiler with OpenMP and Python's headers, with which PyTorch compiles for a CPU. Imports PyTorch."""
    from smallgpt.machine.compiler import missing_for_cpp

    if missing := missing_for_cpp():
        return Verdict("compiler", "note", f"{missing}: compile=true will not work")
    return Verdict("compiler", "ok", "takes C++ with OpenMP and Python's headers: compile=true works")


def processor() -> Verdict:
    """Processor, and the precision that it is made for. Imports PyTorch."""
    import torch

    from smallgpt.machine.device import native_precision

    threads = torch.get_num_threads()
    if native_precision(torch.device("cpu")) == "bf16":
        return Verdict("processor", "ok", f"computes in bf16, with {threads} threads")
    return Verdict("processor", "ok", f"has no bf16 and computes in fp32, with {threads} threads")


def gpu() -> Verdict:
    """GPUs that PyTorch sees. Imports PyTorch."""
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        free = gigabytes(torch.cuda.mem_get_info()[0])
        several = f"{len(names)} x " if len(set(names)) == 1 and len(names) > 1 else ""
        text = several + ", ".join(dict.fromkeys(names)) + f", {free} free on the first"
        return Verdict("gpu", "ok", text)
    if not (Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi")):
        return Verdict(
            "gpu", "note", "none: trainer=gpu will not work, and models over some ten million parameters are slow"
        )
    why = "this PyTorch is built without CUDA" if torch.version.cuda is None else "its driver does not answer PyTorch"
    return Verdict("gpu", "note", f"there is one, and {why}: trainer=gpu will not work")
