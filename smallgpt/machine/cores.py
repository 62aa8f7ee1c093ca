"""CPU cores that this process may use."""

import os
from pathlib import Path

from smallgpt.machine.control_groups import control_groups


def available_cores() -> int:
    """Number of CPU cores this process may use: its affinity and its container's limit, not the machine's total."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for version, folder in control_groups("cpu") if (quota := cpu_quota(version, folder)) is not None]
    return max(1, min([affinity, *[int(quota) for quota in quotas]]))


def use_threads(threads: int | None) -> None:
    """Sets the CPU threads of this process; None leaves what PyTorch takes."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


def cpu_quota(version: int, folder: Path) -> float | None:
    """Number of cores whose time a control group may use up, such as 1.5; None where it sets no limit."""
    try:
        if version == 2:
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError):  # the quota may be the word `max`
        return None
