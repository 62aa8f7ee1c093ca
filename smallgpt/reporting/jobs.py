"""The runs of a sweep as a report reads them: config.yaml, result.json and metrics.csv of each run directory."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from smallgpt.errors import UserError
from smallgpt.reporting.naming import Described
from smallgpt.results import misplaced, read_record
from smallgpt.run_directory import DECISION, LOCATION_KEYS, OTHERS, SPEED_KEYS, config_of_run, flat, read_unwritable

OF_NO_ARM = {"seed", "log_every", "latency", "finetune.shots", "model.allow_narrow"}
NEVER_COMPARED = LOCATION_KEYS | OTHERS | DECISION | OF_NO_ARM
"""Keys that make no other arm: `latency` and shots are measured beside the training, the last lets a model be built."""
UNUSED = {"prompt", "generation", "benchmark", "checkpoint", "format", "quantize", "eval"}  # by a training
DAMAGED = "damaged"
"""Status of a job whose files cannot be read; a report names it and shows the others."""
TRAINING_TASKS = ("train", "finetune", "inspect", "prepare")
MOST_ROWS = 200  # of a job's training that are kept: more than a picture has room for


@dataclass(frozen=True)
class ReportedJob:
    """One run directory of a sweep."""

    name: str
    run_dir: Path
    result: dict[str, Any]
    curve: list[dict[str, float]] = field(default_factory=list, repr=False)
    """Rows of metrics.csv that have a validation loss."""
    training: list[dict[str, float]] = field(default_factory=list, repr=False)
    """The other rows of metrics.csv; of a long run, means over neighbours."""

    @property
    def status(self) -> str:
        return self.result.get("status", "failed")

    @property
    def completed(self) -> bool:
        return self.status == "completed"

    @property
    def task(self) -> str:
        return self.result.get("task", "train")

    @property
    def is_report(self) -> bool:
        """A run of task=report, which reports others and is no part of them."""
        return self.task == "report"

    @property
    def seed(self) -> int | None:
        return self.result.get("seed", self.config.get("seed"))

    @property
    def own_text(self) -> bool:
        """Whether the fingerprint is that of the user's examples, and the model was trained on a text before."""
        return self.result.get("task") == "poc"

    @property
    def loss_unit(self) -> str:
        """Unit of the losses: nats a token, or nats a label where a head says it."""
        labels = self.section("finetune").get("kind") == "classification"
        return "label" if labels and self.config.get("finetune.classifier") == "head" else "token"

    @property
    def fingerprint(self) -> str | None:
        """Fingerprint of the text and the tokenizer."""
        return self.result.get("data_fingerprint")

    @cached_property
    def begun(self) -> dict[str, Any]:
        """What a sweep wrote before the job ran."""
        try:
            begun = json.loads((self.run_dir / ".job.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return begun if isinstance(begun, dict) and misplaced(begun) is None else {}

    @property
    def words(self) -> list[str]:
        """The words of its command line."""
        return self.result.get("overrides", self.begun.get("overrides", []))

    @cached_property
    def overrides(self) -> dict[str, str]:
        """What its command line sets: a chosen file by its group, a value by its dotted key."""
        pairs = [text.lstrip("+~").partition("=") for text in self.words]
        return {key.partition("@")[0]: value for key, _, value in pairs}

    @cached_property
    def choices(self) -> dict[str, str]:
        """The chosen file of each group of the config, as far as the result has them."""
        return self.result.get("choices") or self.begun.get("choices", {})

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config by dotted keys."""
        try:
            return flat(config_of_run(self.run_dir))
        except UserError:  # it was killed before, or half a file was copied
            return {}

    @property
    def variant(self) -> str:
        # a job that was killed has no more than its command line
        return self.result.get("variant") or self.choices.get("model") or self.overrides.get("model") or "?"

    @cached_property
    def compared(self) -> dict[str, Any]:
        """The config without seed, places, hardware, logging, and what the task does not use."""
        return comparable(self.config, self.task)

    @cached_property
    def described(self) -> Described:
        """What may name it."""
        return Described(self.variant, self.choices, self.compared, frozenset(self.overrides))

    def section(self, name: str) -> dict[str, Any]:
        return self.result.get(name) or {}


def comparable(config: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Keys of a config that make a job what it is, whatever its seed, its places and its hardware."""
    ignored = set(NEVER_COMPARED)
    if task != "benchmark":
        ignored |= SPEED_KEYS
    if task in TRAINING_TASKS:
        ignored |= UNUSED - ({"checkpoint"} if config.get("checkpoint") else set())  # it began from that
    return {key: value for key, value in config.items() if key not in ignored and key.partition(".")[0] not in ignored}


def read_jobs(sweep_dir: Path, prefix: str = "") -> list[ReportedJob]:
    """The jobs in the order of their numbers; a job that has left no result is one that has not ended."""
    failed = read_unwritable(sweep_dir)
    folders = [*{sweep_dir / name for name in failed} | {path for path in sweep_dir.glob("*") if is_run(path)}]
    folders.sort(key=lambda path: (len(path.name), path.name))
    return [read_job(prefix + path.name, path, failed.get(path.name)) for path in folders]


def read_job(name: str, run_dir: Path, unwritable: dict[str, Any] | None) -> ReportedJob:
    """Reads a run once; where its result is missing or damaged, one that says so stands for it.

    Args:
        name: what a report calls it.
        run_dir: its directory.
        unwritable: the result of a run whose directory could not hold it.
    """
    if unwritable:
        return ReportedJob(name, run_dir, unwritable)
    result, rows, wrong = read_record(run_dir)
    if wrong:
        again = f"{wrong}; copy the file again, or remove the folder and repeat the sweep"
        return ReportedJob(name, run_dir, {"status": DAMAGED, "error": again})
    silent = {"status": "unfinished", "error": "no result.json: it was killed, or has not ended yet"}
    curve = [row for row in rows if "val/loss" in row]
    training = thinned([row for row in rows if "val/loss" not in row])
    return ReportedJob(name, run_dir, ended(result) or silent, curve, training)


def thinned(rows: Sequence[dict[str, float]], most: int = MOST_ROWS) -> list[dict[str, float]]:
    """Thins rows out to at most so many, each the mean of as many neighbours."""
    width = math.ceil(len(rows) / most)
    if width < 2:
        return list(rows)
    found = []
    for start in range(0, len(rows), width):
        near = rows[start : start + width]
        keys = dict.fromkeys(key for row in near for key in row)
        columns = {key: [row[key] for row in near if key in row] for key in keys}
        found.append({key: sum(numbers) / len(numbers) for key, numbers in columns.items()})
    return found


def is_run(path: Path) -> bool:
    """Whether a folder holds a run, in whatever state."""
    return (path / "config.yaml").exists() or (path / "result.json").exists()


def ended(result: dict[str, Any]) -> dict[str, Any]:
    """The result of a run that has ended; that of one at work, or killed at it, is none."""
    return {} if result.get("status") == "running" else result
