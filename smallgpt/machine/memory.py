"""Memory of this machine: how much is free, whether a batch fits, and how much a piece of work takes.

Whether a batch fits is found out before it is made, since Linux may kill a process that takes too much.
"""

import ctypes
import gc
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from smallgpt.errors import UserError
from smallgpt.machine import control_groups as groups

if TYPE_CHECKING:
    import torch

GROUP_FILES = {  # limit, use and cached files of a control group, by version
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


def refuse_too_large(what: str, batch: int, bytes_each: int | None, available: int | None) -> None:
    """Raises UserError where a batch needs more than there is; does nothing where one of the two is not known.

    Args:
        what: the key and value, or the words, that the message begins with.
        bytes_each: bytes that each of the batch takes at least.
    """
    if bytes_each is None or available is None or batch * bytes_each <= available:
        return
    most = available // bytes_each
    raise UserError(
        f"{what} needs at least {gigabytes(batch * bytes_each)} beside the weights, and {gigabytes(available)} of "
        f"memory are free; {f'at most {most} can fit' if most else 'a smaller model or a shorter context needs less'}"
    )


def gigabytes(size: float) -> str:
    """Writes a number of bytes in GB."""
    return f"{size / 1e9:,.0f} GB" if 1e12 <= size < 1e18 else f"{size / 1e9:,.3g} GB"


def free_bytes(device: "torch.device | None" = None) -> int | None:
    """Free bytes of a GPU, or of this machine as far as this process may use it; None where it is not known."""
    if device is not None and device.type == "cuda":
        import torch

        from smallgpt.machine.device import gpu_share

        taken = torch.cuda.memory_allocated(device)
        kept = torch.cuda.memory_reserved(device) - taken  # by PyTorch, for reuse
        free, whole = torch.cuda.mem_get_info(device)
        return min(free + kept, int(gpu_share() * whole) - taken)
    try:
        lines = (groups.SYSTEM / "proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    of_machine = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return min([*of_machine, *left_to_groups()], default=None)


def total_bytes() -> int | None:
    """Bytes of memory that this machine has, or its container is given; None where it is not known."""
    try:
        lines = (groups.SYSTEM / "proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    of_machine = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemTotal:")]
    limits = [limit_of_group(folder / GROUP_FILES[version][0]) for version, folder in groups.control_groups("memory")]
    return min([*of_machine, *[limit for limit in limits if limit is not None]], default=None)


def limit_of_group(path: Path) -> int | None:
    """Bytes that a control group may use; None where it sets no limit."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # it may be the word `max`
        return None


def left_to_groups() -> list[int]:
    """Bytes that are left in each control group around this process: a container's, or those of a Slurm job."""
    left = [left_to_group(folder, *GROUP_FILES[version]) for version, folder in groups.control_groups("memory")]
    return [size for size in left if size is not None]


def left_to_group(folder: Path, limit: str, used: str, cached: str) -> int | None:
    """Bytes that are left in one control group; None where it sets no limit."""
    try:
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        taken = int((folder / used).read_text()) - int(statistics[cached])  # files in memory make room
        return max(0, int((folder / limit).read_text()) - taken)
    except (OSError, ValueError, KeyError):  # the limit may be the word `max`
        return None


PROCESS = Path("/proc/self")
RESET_PEAK = "5"  # what /proc/PID/clear_refs takes for VmHWM


@dataclass(frozen=True)
class PeakMemory:
    """Memory while something works, in bytes; None where the system does not say."""

    growth: int | None
    """Bytes by which memory grew at most."""
    process: int | None
    """Bytes that the whole process held at most, with the libraries and every model it has loaded."""


def peak_memory(work: Callable[[], object], device: "torch.device") -> PeakMemory:
    """Measures memory while `work` runs.

    On a CPU it is the resident memory of this process: what was freed before goes back to the system first, and the
    system's own high-water mark is reset, which Linux allows through /proc. On a GPU it is what PyTorch took there.
    """
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return PeakMemory(torch.cuda.max_memory_allocated(device) - before, torch.cuda.max_memory_reserved(device))
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    try:
        (PROCESS / "clear_refs").write_text(RESET_PEAK)
    except OSError:
        work()
        return PeakMemory(None, resident("VmRSS"))
    before = resident("VmRSS")
    work()
    after = resident("VmHWM")
    return PeakMemory(None if before is None or after is None else max(0, after - before), after)


def peak_bytes(device: "torch.device") -> int | None:
    """Bytes that this process has held at most so far: on a GPU what PyTorch took there, else in this machine."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_reserved(device)
    return resident("VmHWM")


def resident(field: str) -> int | None:
    """Resident bytes of this process: now (VmRSS), or at most so far (VmHWM); None where it is not known."""
    try:
        lines = (PROCESS / "status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), None)
