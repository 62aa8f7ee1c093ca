"""Device that a run uses, and the precision its processor is made for."""

import os
from pathlib import Path
from typing import Literal

import torch

from smallgpt.errors import UserError
from smallgpt.ranks import local_rank

Precision = Literal["fp32", "bf16"]
CUBLAS_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""Environment variable without which products are no deterministic ones; PyTorch reads it once, at the first of all."""
GPU_SHARE = "SMALLGPT_GPU_SHARE"
"""Environment variable in which a sweep tells a job what share of a GPU's memory is its own."""


def device(accelerator: str, devices: int = 1) -> torch.device:
    """Kind of device that `trainer.accelerator` names; of GPUs, this process's own is the current one from here on.

    Raises UserError where this machine has too few.
    """
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=gpu: no CUDA device is visible here; use trainer=cpu")
    if accelerator == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if devices > (visible := torch.cuda.device_count()):
        raise UserError(f"trainer.devices={devices}: only {visible} visible here; trainer.accelerator=cpu needs none")
    os.environ.setdefault(*CUBLAS_WORKSPACE)
    if 0 < local_rank() < visible:
        torch.cuda.set_device(local_rank())
    if (share := gpu_share()) < 1:
        torch.cuda.set_per_process_memory_fraction(share)
    return torch.device("cuda")


def gpu_share() -> float:
    """Share of a GPU's memory that this process may take: less than 1 where several jobs of a sweep run on one."""
    try:
        return float(os.environ.get(GPU_SHARE, 1))
    except ValueError:
        return 1.0


def visible_gpus() -> list[str]:
    """GPUs that this process may use, by the names that `CUDA_VISIBLE_DEVICES` takes."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named:
        return [name for name in named.split(",") if name]
    return [str(number) for number in range(torch.cuda.device_count())]


def resolved_precision(precision: Literal["auto", "fp32", "bf16"], device: torch.device) -> Precision:
    """The precision that `trainer.precision` stands for on a device."""
    return native_precision(device) if precision == "auto" else precision


def native_precision(device: torch.device) -> Precision:
    """Precision that a device is made for: bf16 where it computes so natively, fp32 elsewhere."""
    if device.type == "cuda":
        native = torch.cuda.get_device_capability() >= (8, 0)
    else:
        native = bool({"amx_bf16", "avx512_bf16", "bf16"} & processor_flags())
    return "bf16" if native else "fp32"


def processor_flags() -> set[str]:
    """Instruction sets of this CPU, as Linux names them; empty where it does not say."""
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
