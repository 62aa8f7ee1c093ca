"""Rates of this machine: how fast memory is copied, and how fast matrices are multiplied."""

import time
from dataclasses import dataclass
from functools import cache

import torch

from smallgpt.machine.device import Precision

COPIED_BYTES = {"cpu": 2**28, "cuda": 2**31}  # more than caches hold, and enough that a GPU is busy for long
COPIES = 7


@dataclass(frozen=True)
class Machine:
    """Device on which something is measured, with its threads and its bandwidth."""

    device: torch.device
    threads: int
    bandwidth: float
    """Bytes per second, read and written, of the fastest of several copies."""


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float | None:
    """FLOPs per second of a large matrix product; None for numbers of which it is not known."""
    precision: dict[torch.dtype, Precision] = {torch.float32: "fp32", torch.bfloat16: "bf16"}
    return peak_flops(device, precision[dtype]) if dtype in precision else None


def measured_machine(device: torch.device) -> Machine:
    """Measures a device's bandwidth, with the threads that PyTorch has now."""
    return Machine(device, torch.get_num_threads(), copy_bandwidth(device))


def copy_bandwidth(device: torch.device, size: int | None = None) -> float:
    """Bytes per second, read and written, of the fastest of several copies of `size` bytes."""
    size = size or COPIED_BYTES.get(device.type, COPIED_BYTES["cpu"])
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
    """Clock time in seconds, when all that the device was given is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


PEAK_SIZE = {"cpu": 1024, "cuda": 8192}  # square products this large reach a device's peak and take milliseconds
PEAK_SECONDS = 0.2  # long enough that one product in it is not disturbed by what else the machine does


def peak_flops(device: torch.device, precision: Precision) -> float | None:
    """FLOPs per second of the fastest of several large matrix products; None for a kind of device that is not known.

    A process measures it once for the threads that it has.

    On a GPU that is less than its maker's figure, which no product reaches. Its numbers are random there: products of
    equal ones draw less power, and so run faster than any that a model has.
    """
    if device.type not in PEAK_SIZE:
        return None
    return measured_peak(device, precision, torch.get_num_threads())


@cache
def measured_peak(device: torch.device, precision: Precision, threads: int) -> float:
    """FLOPs per second of matrix products with so many threads, which PyTorch has now."""
    size, dtype = PEAK_SIZE[device.type], torch.bfloat16 if precision == "bf16" else torch.float32
    if device.type == "cuda":
        chance = torch.Generator(device).manual_seed(0)
        a, b = torch.randn(2, size, size, dtype=dtype, device=device, generator=chance)
    else:
        a, b = torch.ones(2, size, size, dtype=dtype)
    best = float("inf")
    begin = time.perf_counter()
    while (start := now(device)) < begin + PEAK_SECONDS:
        torch.mm(a, b)
        best = min(best, now(device) - start)
    return 2 * size**3 / best
