"""Checks and measures what smallgpt does on one GPU, step by step, in 22 minutes at most.

    python -m benchmarks.gpu                            # every step that is not done yet, then a table
    python -m benchmarks.gpu --steps training decoding  # these alone, also where they are done
    python -m benchmarks.gpu --against OTHER.json       # beside the results of another machine
    python -m benchmarks.gpu --dry-run                  # the same code with tiny models on the CPU, under five minutes

Each step is a process of its own and has a time limit: one that fails, hangs or runs out of memory stops no other. Its
result lies in `FOLDER/STEP.json` as soon as it is there, so the same command goes on after whatever stopped it; a
result of another commit or another card is measured again. `FOLDER/results.json` has all of them. The exit code is 1
where a step failed or a check is not met; a speed that misses its goal is shown, and fails nothing. A dry run traces
what would be compiled, and makes no code of it.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from benchmarks.gpu.rows import Step, machine, table
from smallgpt.files import write_text
from smallgpt.ranks import end_with_the_starter

STEPS = {
    "tests": Step("benchmarks.gpu.tests", "the tests that need a GPU", 240),
    "training": Step("benchmarks.gpu.training", "training steps beside a plain PyTorch loop", 240),
    "decoding": Step("benchmarks.gpu.decoding", "decoding beside transformers' GPT-2", 240),
    "scoring": Step("benchmarks.gpu.scoring", "evaluation items a second", 90),
    "resume": Step("benchmarks.gpu.resume", "kill and resume to the same bits", 150),
    "moving": Step("benchmarks.gpu.moving", "a run that begins on the CPU goes on there and back", 120),
    "processes": Step("benchmarks.gpu.processes", "the loss of one process and of two that share the device", 90),
    "jobs": Step("benchmarks.gpu.jobs", "several small trainings on one card at once", 120),
}
GRACE_SECONDS = 5.0


def measured(name: str, folder: Path, dry_run: bool, limit: float) -> dict[str, Any]:
    """Does a step in a process of its own, and returns its result, which that process has written."""
    path = folder / f"{name}.json"
    path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu", "--within", name, "--folder", str(folder)]
    started = time.monotonic()
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *(["--dry-run"] if dry_run else [])], stdout=log, stderr=log, start_new_session=True
        )
        try:
            process.wait(limit)
            reason = f"ended with code {process.returncode}; see {folder / name}.log"
        except subprocess.TimeoutExpired:
            reason = f"took longer than {limit:.0f} s"
        finally:
            end(process)
    if path.exists():
        return json.loads(path.read_text())
    failed = {"status": "failed", "error": reason, "rows": [], "seconds": time.monotonic() - started}
    write_text(path, json.dumps(failed, indent=1))
    return failed


def end(process: subprocess.Popen) -> None:
    """Ends a process with all that it started, whatever state they are in."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(GRACE_SECONDS)
        except (ProcessLookupError, PermissionError):
            break
        except subprocess.TimeoutExpired:
            continue


def within(name: str, folder: Path, dry_run: bool) -> int:
    """Does a step in this process and writes its result, whatever happens."""
    end_with_the_starter(signal.SIGTERM, os.getppid())
    started, found = time.monotonic(), {}
    if dry_run:
        trace_alone()
    try:
        found = {"status": "done", "rows": STEPS[name].measure(folder / name, dry_run)}
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        found = {"status": "failed", "error": f"{type(error).__name__}: {error}", "rows": []}
    found |= {"seconds": time.monotonic() - started, "machine": machine(dry_run)}
    write_text(folder / f"{name}.json", json.dumps(found, indent=1))
    return int(found["status"] != "done")


def trace_alone() -> None:
    """Has `torch.compile` trace and check what it is given, without the minutes in which C++ is made of it."""
    import torch

    compiled: Any = torch.compile

    def traced(function: Any, *, options: Any = None, **given: Any) -> Any:
        return compiled(function, backend="aot_eager", **given)

    torch.compile = traced


def done(path: Path, here: dict[str, Any]) -> dict[str, Any] | None:
    """Result of a step that was done with this code on this machine and met its checks; None where there is none."""
    if not path.exists():
        return None
    found = json.loads(path.read_text())
    whole = found["status"] == "done" and found["machine"] == here and not unmet(found)
    return found if whole else None


def unmet(found: dict[str, Any]) -> list[str]:
    """Checks of a step that are not met."""
    return [row["what"] for row in found["rows"] if row.get("check") and not row["met"]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", nargs="+", choices=STEPS, help="do these, also where they are done")
    parser.add_argument("--dry-run", action="store_true", help="tiny models on the CPU")
    parser.add_argument("--folder", type=Path, help="where results lie; outputs/gpu_check, outputs/gpu_check_dry")
    parser.add_argument("--patience", type=float, default=1.0, help="times as long as usual that a step may take")
    parser.add_argument("--against", type=Path, help="results.json of another machine, shown beside")
    parser.add_argument("--within", choices=STEPS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder = (given.folder or Path("outputs/gpu_check_dry" if given.dry_run else "outputs/gpu_check")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if given.within:
        return within(given.within, folder, given.dry_run)
    here = machine(given.dry_run)
    if here["device"] is None:
        raise SystemExit("error: no CUDA device is visible here; --dry-run does the same with tiny models on the CPU")
    print(f"{here['device']}, PyTorch {here['torch']}, results in {folder}")
    results = {}
    for name, step in STEPS.items():
        found = None if given.steps and name in given.steps else done(folder / f"{name}.json", here)
        if found is None and (not given.steps or name in given.steps):
            print(f"{name}: {step.what}", flush=True)
            found = measured(name, folder, given.dry_run, given.patience * step.limit)
            print(f"  {found['status']} after {found['seconds']:.0f} s", flush=True)
        if found is not None:
            results[name] = found
    write_text(folder / "results.json", json.dumps({"machine": here, "steps": results}, indent=1))
    other = json.loads(given.against.read_text()) if given.against else None
    print(table(results, other))
    return int(any(found["status"] != "done" or unmet(found) for found in results.values()))


if __name__ == "__main__":
    sys.exit(main())
