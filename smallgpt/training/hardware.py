"""What the machine offers: the precision that it is made for, and its peak speed."""

import os
import time
from pathlib import Path
from typing import Literal

import torch

from smallgpt.errors import UserError

Precision = Literal["fp32", "bf16"]

PEAK_SIZE = 1024  # a square product this large reaches a CPU's peak and takes milliseconds
PEAK_SECONDS = 0.5  # long enough that one product in it is not disturbed by what else the machine does


def device(accelerator: str, devices: int = 1) -> torch.device:
    """The kind of device that `trainer.accelerator` names; a UserError if this machine has too few."""
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=gpu: no CUDA device is visible here; use trainer=cpu")
    if accelerator == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if devices > (visible := torch.cuda.device_count()):
        raise UserError(f"trainer.devices={devices}: only {visible} visible here; trainer.accelerator=cpu needs none")
    return torch.device("cuda")


def native_precision(device: torch.device) -> Precision:
    """bf16 where the processor computes in it natively, fp32 elsewhere."""
    if device.type == "cuda":
        native = torch.cuda.get_device_capability() >= (8, 0)
    else:
        native = bool({"amx_bf16", "avx512_bf16", "bf16"} & processor_flags())
    return "bf16" if native else "fp32"


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_flags() -> set[str]:
    """The instruction sets of this CPU, as Linux names them; empty where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return {
        flag
        for line in lines
        if line.split(":")[0].strip() in {"flags", "Features"}
        for flag in line.partition(":")[2].split()
    }


def peak_flops(device: torch.device, precision: Precision) -> float | None:
    """FLOPs a second: measured on a CPU, the maker's figure for one GPU; None if unknown."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    if device.type == "cuda":
        from lightning.fabric.utilities.throughput import get_available_flops

        return get_available_flops(device, dtype)
    a, b = torch.ones(2, PEAK_SIZE, PEAK_SIZE, dtype=dtype)
    best = float("inf")
    begin = time.perf_counter()
    while (start := time.perf_counter()) < begin + PEAK_SECONDS:
        torch.mm(a, b)
        best = min(best, time.perf_counter() - start)
    return 2 * PEAK_SIZE**3 / best
