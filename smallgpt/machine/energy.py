"""Energy that this machine has used, where it tells: counters of the processor's packages and of NVIDIA GPUs.

The counters are the machine's: what else runs on it is counted too. Linux shows those of the processor to root alone.
"""

import threading
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

POWERCAP = Path("/sys/class/powercap")
SECONDS = 30.0
"""Time between two readings: a package's counter begins again at 0 within the hour."""


class EnergyMeter:
    """Context that adds up the energy which this machine uses within it, in joules; None where it does not tell.

    Args:
        powercap: folder in which Linux shows the counters of the processor's packages.
    """

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self.powercap = powercap
        self.joules: float | None = None
        self.over = threading.Event()

    def __enter__(self) -> "EnergyMeter":
        self.last = self.counters()
        if self.last:
            self.joules = 0.0
            self.reader = threading.Thread(target=self.watch, daemon=True)
            self.reader.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.over.set()
        if self.last:
            self.reader.join()
            self.read()

    def watch(self) -> None:
        """Reads the counters again and again until the context ends."""
        while not self.over.wait(SECONDS):
            self.read()

    def read(self) -> None:
        """Adds what the counters have gone up by since they were read last."""
        now = self.counters()
        for name, (joules, most) in now.items():
            if name in self.last and self.joules is not None:
                gone_up = joules - self.last[name][0]
                self.joules += gone_up + most if gone_up < 0 else gone_up
        self.last = {**self.last, **now}  # one that cannot be read this time goes on from where it was

    def counters(self) -> dict[str, tuple[float, float]]:
        """Joules on each counter, and those at which it begins again; none where the machine shows none."""
        return {**packages(self.powercap), **gpus()}


def packages(powercap: Path) -> dict[str, tuple[float, float]]:
    """Counters of the processor's packages; their parts, in folders with two numbers, are within these."""
    found = {}
    for zone in sorted(powercap.glob("intel-rapl:*")):
        if zone.name.count(":") > 1:
            continue
        try:
            joules, most = (int((zone / name).read_text()) / 1e6 for name in ("energy_uj", "max_energy_range_uj"))
        except (OSError, ValueError):
            continue
        found[zone.name] = (joules, most)
    return found


def gpus() -> dict[str, tuple[float, float]]:
    """Counters of NVIDIA GPUs, which do not begin again while the driver is loaded."""
    if find_spec("pynvml") is None:
        return {}
    nvml: Any = import_module("pynvml")
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
        return {
            f"gpu {number}": (nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000, 0.0)
            for number, handle in enumerate(handles)
        }
    except nvml.NVMLError:  # no driver, or a GPU that counts none
        return {}
