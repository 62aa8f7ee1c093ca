"""A job of a sweep while it runs, read from the files that it writes anyway: nothing is locked and nothing written."""

import csv
import json
import os
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from smallgpt.errors import UserError
from smallgpt.results import finite, read_result
from smallgpt.run_directory import config_of_run
from smallgpt.settings.training import DEFAULT_BUDGET_TOKENS

DONE = ("completed", "pruned")  # at whatever start of the sweep
ENDED = (*DONE, "failed", "interrupted", "refused")  # at the start of the sweep that has left it
WRITTEN = ("config.yaml", "log.txt", "metrics.csv")  # by the process of a job, not by its sweep
DEAD_SECONDS = 300.0  # without a line, after which a job is taken for dead where no sweep says that it is at work


class MetricsTail:
    """Reader of a metrics.csv that grows: each line is read once, and a file that was written again from its start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.begin(0)

    def begin(self, inode: int) -> None:
        """Forgets what was read, of the file or of another one that had its name."""
        self.inode = inode
        self.offset = 0
        self.columns: list[str] = []
        self.latest: dict[str, float] = {}
        """The last number of each column."""
        self.lowest: float | None = None
        """The lowest validation loss so far."""

    def read(self) -> None:
        """Reads the whole lines that are new."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self.inode or status.st_size < self.offset:
                    self.begin(status.st_ino)
                file.seek(self.offset)
                content = file.read()
        except OSError:  # there is none yet
            return
        whole = content[: content.rfind(b"\n") + 1]
        self.offset += len(whole)
        for cells in csv.reader(whole.decode(errors="replace").splitlines()):
            if not self.columns:
                self.columns = cells
                continue
            row = {
                name: number
                for name, text in zip(self.columns, cells, strict=False)
                if (number := finite(text)) is not None
            }
            self.latest |= row
            if (loss := row.get("val/loss")) is not None:
                self.lowest = loss if self.lowest is None else min(loss, self.lowest)


class LiveJob:
    """Job of a sweep as far as it has come."""

    def __init__(self, name: str, run_dir: Path) -> None:
        self.name = name
        self.run_dir = run_dir
        self.metrics = MetricsTail(run_dir / "metrics.csv")
        self.state = "waiting"
        """`waiting`, `running`, or the status of its result."""
        self.result: dict[str, Any] = {}
        self.moved = 0.0
        """When it last wrote something."""

    def refresh(self) -> None:
        """Reads what has changed; a job that is done changes no more."""
        if self.state in DONE:
            return
        made = changed(self.run_dir / ".job.json")  # by the sweep, when it began or went on
        ended = changed(self.run_dir / "result.json")
        written = max(changed(self.run_dir / name) for name in WRITTEN)
        self.moved = max(made, written, ended)
        self.result = (read_result(self.run_dir) or {}) if ended else {}
        status = self.result.get("status")
        if status in DONE or (status in ENDED and ended >= made):
            self.state = status
        elif written > made or (status == "running" and ended > made):
            self.state = "running"
        else:
            self.state = "waiting"
        if self.state != "waiting":
            self.metrics.read()

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def silent(self) -> float:
        """Seconds since it last wrote something."""
        return max(0.0, time.time() - self.moved)

    @cached_property
    def begun(self) -> dict[str, Any]:
        """What the sweep wrote of it: its words, its choices and the name of its arm."""
        try:
            found = json.loads((self.run_dir / ".job.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = {}
        return found if isinstance(found, dict) else {}

    @property
    def words(self) -> list[str]:
        """The words of its command line."""
        words = self.begun.get("overrides", self.result.get("overrides"))
        return [str(word) for word in words] if isinstance(words, list) else []

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its config; empty where it cannot be read."""
        try:
            return config_of_run(self.run_dir)
        except UserError:
            return {}

    @property
    def progress(self) -> float | None:
        """Fraction of its budget that is spent; None where that is not known, as with a budget in epochs."""
        if self.state == "completed":
            return 1.0
        budget = self.config.get("budget")
        return spent(budget if isinstance(budget, dict) else {}, self.metrics.latest)

    @property
    def seconds_left(self) -> float | None:
        """Seconds of training that are left to it at the pace so far; None where that is not known."""
        done, so_far = self.progress, self.metrics.latest.get("seconds")
        return so_far * (1 - done) / done if done and so_far is not None else None

    @property
    def seconds(self) -> float | None:
        """Seconds from its start to its result, scoring and all; None where it has not ended."""
        if not self.ended:
            return None
        return max(0.0, changed(self.run_dir / "result.json") - changed(self.run_dir / "config.yaml"))

    @property
    def tokens_per_second(self) -> float | None:
        """Speed of the last steps, or of a training that has ended its mean."""
        train = self.result.get("train")
        mean = train.get("tokens_per_second") if isinstance(train, dict) else None
        return mean if self.ended and mean is not None else self.metrics.latest.get("speed/tokens_per_second")


def spent(budget: Mapping[str, Any], latest: Mapping[str, float]) -> float | None:
    """Fraction of a budget that the last row of a metrics.csv has used; None of one in epochs, or before a row."""
    if all(value is None for value in budget.values()):
        budget = {"tokens": DEFAULT_BUDGET_TOKENS}
    for kind in ("tokens", "flops", "seconds"):
        whole, used = finite(str(budget.get(kind))), latest.get(kind)
        if whole:
            return None if used is None else min(1.0, used / whole)
    return None


def changed(path: Path) -> float:
    """Time at which a file was last written; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
