"""What this machine offers and takes: how fast memory is copied, how fast matrices are multiplied, how much memory."""

import ctypes
import gc
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from smallgpt.training.hardware import Precision, peak_flops

PROCESS = Path("/proc/self")
COPIED_BYTES = 256 * 2**20  # more than a processor's caches hold
COPIES = 7
RESET_PEAK = "5"  # what /proc/PID/clear_refs takes for VmHWM


@dataclass(frozen=True)
class Machine:
    device: torch.device
    threads: int
    bandwidth: float
    """Bytes a second, read and written, of the fastest of several copies."""


@cache
def matrix_rate(device: torch.device, dtype: torch.dtype) -> float | None:
    """FLOPs a second of a large matrix product; None for numbers of which it is not known."""
    precision: dict[torch.dtype, Precision] = {torch.float32: "fp32", torch.bfloat16: "bf16"}
    return peak_flops(device, precision[dtype]) if dtype in precision else None


def measured(device: torch.device) -> Machine:
    return Machine(device, torch.get_num_threads(), copy_bandwidth(device))


def copy_bandwidth(device: torch.device, size: int = COPIED_BYTES) -> float:
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)  # its pages exist from now on
    best = float("inf")
    for _ in range(COPIES):
        start = now(device)
        target.copy_(source)
        best = min(best, now(device) - start)
    return 2 * size / best


def now(device: torch.device) -> float:
    """Seconds, when all that the device was given is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_growth(work: Callable[[], object], device: torch.device) -> int | None:
    """Bytes by which memory grew at most while `work` ran; None where the system does not say.

    On a CPU it is the resident memory of this process: what was freed before goes back to the system first, and the
    system's own high-water mark is reset, which Linux allows through /proc.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    try:
        (PROCESS / "clear_refs").write_text(RESET_PEAK)
    except OSError:
        work()
        return None
    before = resident("VmRSS")
    work()
    after = resident("VmHWM")
    return None if before is None or after is None else max(0, after - before)


def resident(field: str) -> int | None:
    """Bytes, from this process's status: VmRSS now, VmHWM at most."""
    try:
        lines = (PROCESS / "status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), None)
