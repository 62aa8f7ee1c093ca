"""Results of the steps: rows that are measured or checked, the machine they belong to, and the table of all of them."""

import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from smallgpt.environment import commit, cpu_name


@dataclass(frozen=True)
class Step:
    """One step: the module whose `measure(folder, tiny)` does it, what it says, and how long it may take."""

    module: str
    what: str
    limit: float
    """Seconds after which it is ended."""

    def measure(self, folder: Path, tiny: bool) -> list[dict[str, Any]]:
        return import_module(self.module).measure(folder, tiny)


def row(what: str, value: float, unit: str = "", least: float | None = None) -> dict[str, Any]:
    """Row of something measured, with the least value that is wanted, if any."""
    goal = {} if least is None else {"goal": least, "met": value >= least}
    return {"what": what, "value": value, "unit": unit, **goal}


def check(what: str, met: bool, value: float | str = "") -> dict[str, Any]:
    """Row of something that must hold, whatever the machine."""
    return {"what": what, "value": value, "unit": "", "check": True, "met": met}


def machine(dry_run: bool) -> dict[str, Any]:
    """The device that is measured, and the code that measures; `device` is None where there is no GPU.

    The GPU is asked for in another process: one that has asked may not fork, and some steps do.
    """
    ask = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    if dry_run:
        device = f"dry run on {cpu_name()}"
    else:
        device = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True).stdout.strip() or None
    return {"device": device, "torch": version("torch"), "commit": commit()}


def table(results: dict[str, dict[str, Any]], other: dict[str, Any] | None = None) -> str:
    """Table of all rows; with the results of another machine, each beside that machine's and their ratio."""
    theirs = {
        (name, row["what"]): row["value"]
        for name, found in (other or {"steps": {}})["steps"].items()
        for row in found["rows"]
    }
    lines = [f"beside {other['machine']['device']}, commit {other['machine']['commit']}"] if other else []
    for name, found in results.items():
        lines.append(f"{name}  ({found['status']}, {found['seconds']:.0f} s) {found.get('error', '')}".rstrip())
        for each in found["rows"]:
            beside = theirs.get((name, each["what"]))
            lines.append(f"  {each['what']:<62} {shown(each):<22} {judged(each)}{compared(each, beside)}".rstrip())
    return "\n".join(lines)


def shown(each: dict[str, Any]) -> str:
    value = each["value"]
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value} {each['unit']}".strip()


def judged(each: dict[str, Any]) -> str:
    if each.get("check"):
        return "ok" if each["met"] else "NOT MET"
    return "" if "goal" not in each else f"goal {each['goal']:g}: {'met' if each['met'] else 'missed'}"


def compared(each: dict[str, Any], beside: Any) -> str:
    numbers = all(isinstance(value, int | float) for value in (each["value"], beside))
    return f"  theirs {beside:.4g}, ours is {each['value'] / beside:.2f} of it" if numbers and beside else ""
