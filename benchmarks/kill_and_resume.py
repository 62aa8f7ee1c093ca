"""Kills a training run again and again, lets it go on, and compares it with one that was never killed.

    python -m benchmarks.kill_and_resume --kills 20
    python -m benchmarks.kill_and_resume --kills 20 trainer=ddp trainer.devices=2

kill -9 comes at random moments: a quarter of them before the first step, while data is prepared, and a quarter after
the last one, while samples, scores and the result are made; where a checkpoint was being written, the line of that kill
says so. Words after the options are overrides of the run. At the end weights,
metrics and scores must be the same to the bit; only what a clock measures may differ. Exit code 1 if they are not.
"""

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

RUN = str(Path(__file__).parents[1] / "run.py")
CLOCKS = ("seconds", "speed/tokens_per_second", "speed/mfu")
WORDS = [
    "size=debug",
    "batch.tokens=512",
    "budget.tokens=400000",
    "validation.every=5",
    "validation.tokens=4096",
    "tokenizer.vocab_size=1024",
    "model.dropout=0.1",
    "log_every=1",
    "generation.max_new_tokens=10",
    "resume=auto",
]


def start(folder: Path, name: str, words: list[str]) -> subprocess.Popen:
    command = [
        sys.executable,
        RUN,
        *WORDS,
        *words,
        f"hydra.run.dir={folder / name}",
        f"cache_dir={folder / name}-cache",
    ]
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def kill(process: subprocess.Popen) -> None:
    """The whole tree at once, as when a machine loses power."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


@dataclass(frozen=True)
class Phases:
    """What a run that is left alone does: its seconds to the first step, of training, and after the last step."""

    before: float
    training: float
    after: float
    last_step: str

    @property
    def seconds(self) -> float:
        return self.before + self.training + self.after


def run_killed(folder: Path, kills: int, phases: Phases, words: list[str], chance: random.Random) -> None:
    """Starts the run until it is completed and kills it on the way."""
    done = 0
    while True:
        process = start(folder, "killed", words)
        if done >= kills:
            if process.wait() != 0:
                raise SystemExit(f"the run failed; see {folder / 'killed.log'}")
            return
        few = kills // 4
        phase = "before" if done < few else "after" if done >= kills - max(1, few) else "training"
        moment = {
            "before": chance.uniform(0.0, phases.before),
            "training": chance.uniform(0.1, 1.0) * phases.seconds,
            "after": chance.uniform(0.0, phases.after),
        }[phase]
        while phase == "after" and process.poll() is None and not is_trained(folder / "killed", phases.last_step):
            time.sleep(0.01)
        began = time.monotonic()
        while process.poll() is None and time.monotonic() < began + moment:
            time.sleep(0.01)
        kill(process)
        if is_completed(folder / "killed"):  # before its kill
            if phase != "after":  # begin anew, so that every kill hits a run at work
                shutil.rmtree(folder / "killed")
                continue
            (folder / "killed" / "result.json").unlink()  # as a kill just before it was written
        done += 1
        print(f"kill {done}/{kills} after {moment:.1f} s: {where(folder, 'killed', phases.last_step)}", flush=True)


def is_trained(run_dir: Path, last_step: str) -> bool:
    """Whether the last step is validated and saved: what is left is made from the checkpoints."""
    if (run_dir / "checkpoints" / ".last.ckpt").exists() or not (run_dir / "metrics.csv").exists():
        return False
    return any(row["step"] == last_step and row.get("val/loss") for row in rows_of(run_dir / "metrics.csv"))


def is_completed(run_dir: Path) -> bool:
    path = run_dir / "result.json"
    return path.exists() and json.loads(path.read_text())["status"] == "completed"


def where(folder: Path, name: str, last_step: str) -> str:
    """What the run was at, as its files tell."""
    if is_trained(folder / name, last_step):
        return "after the last step"
    path = folder / name / "metrics.csv"
    rows = rows_of(path) if path.exists() else []
    if not rows:
        prepared = any((folder / f"{name}-cache").glob("prepared/*/validation_ends.npy"))
        return "before the first step" if prepared else "before the data was prepared"
    checkpoints = folder / name / "checkpoints"
    unfinished = [path.name for path in checkpoints.glob(".*")]
    return f"step {rows[-1]['step']}" + (f", while {unfinished[0][1:]} was written" if unfinished else "")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in CLOCKS} for row in csv.DictReader(file)]


def differences(one: Path, other: Path) -> list[str]:
    """What is not the same in two run directories."""
    found = []
    for name in ("best", "last"):
        weights = [(d / "checkpoints" / name / "model.safetensors").read_bytes() for d in (one, other)]
        if weights[0] != weights[1]:
            found.append(f"checkpoints/{name}")
    if rows_of(one / "metrics.csv") != rows_of(other / "metrics.csv"):
        found.append("metrics.csv")
    results = [json.loads((d / "result.json").read_text()) for d in (one, other)]
    kept = ("val", "samples", "evaluation", "data_fingerprint")
    found += [key for key in kept if results[0].get(key) != results[1].get(key)]
    steps = [(result["train"]["steps"], result["train"]["tokens"], result["train"]["loss"]) for result in results]
    return found + (["train"] if steps[0] != steps[1] else [])


def compare(folder: Path, kills: int, words: list[str], seed: int = 0) -> list[str]:
    """Runs both in `folder`; returns what differs between them."""
    phases = left_alone(folder, words)
    print(
        f"a run that is left alone: {phases.seconds:.0f} s, {phases.before:.0f} s of them before the first step and "
        f"{phases.after:.0f} s after the last",
        flush=True,
    )
    run_killed(folder, kills, phases, words, random.Random(seed))
    return differences(folder / "whole", folder / "killed")


def left_alone(folder: Path, words: list[str]) -> Phases:
    """Runs it without a kill."""
    times, size = [time.monotonic()], 0
    process, metrics = start(folder, "whole", words), folder / "whole" / "metrics.csv"
    while process.poll() is None and not (folder / "whole" / "result.json").exists():
        if metrics.exists() and metrics.stat().st_size != size:
            size = metrics.stat().st_size
            times.append(time.monotonic())
        time.sleep(0.05)
    end = time.monotonic()
    if process.wait() != 0:
        raise SystemExit(f"the run failed; see {folder / 'whole.log'}")
    begun, first, *_, last = times
    return Phases(first - begun, last - first, end - last, rows_of(metrics)[-1]["step"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=Path("outputs/kill_and_resume"))
    arguments, words = parser.parse_known_args()
    shutil.rmtree(arguments.folder, ignore_errors=True)
    arguments.folder.mkdir(parents=True)
    found = compare(arguments.folder.absolute(), arguments.kills, words)
    print(
        f"different: {', '.join(found)}" if found else f"{arguments.kills} kills: the same weights, metrics and scores"
    )
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
