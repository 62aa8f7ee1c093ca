"""W&B runs as they lie on this machine, read by W&B's own reader, `wandb leet inspect`."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smallgpt.errors import UserError
from smallgpt.machine.cores import available_cores


@dataclass
class LoggedRun:
    """One W&B run, with what was logged each time that it was started."""

    id: str
    name: str = ""
    group: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Rows by step."""
    folder: Path = Path()
    """Folder of the latest start, with the files of its tables."""

    def value(self, section: str, name: str) -> Any:
        """A value of the config or the summary, by its key; None where there is none."""
        if section == "summary":
            return self.summary.get(name)
        found: Any = self.config
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return found

    def table(self, key: str) -> tuple[list[str], list[list[Any]]]:
        """Columns and rows of a logged table; none where there is no such table."""
        entry = self.summary.get(key)
        path = entry.get("path") if isinstance(entry, Mapping) else None
        if not path or not (self.folder / "files" / path).is_file():
            return [], []
        content = json.loads((self.folder / "files" / path).read_text(encoding="utf-8"))
        return content["columns"], content["data"]


def logged_runs(ids: Sequence[str], holders: Sequence[Path]) -> list[LoggedRun]:
    """Runs in the order of their ids, as far as one of the folders has them in its `wandb/`."""
    folders = {
        run_id: sorted({path for holder in holders for path in (holder / "wandb").glob(f"*run-*-{run_id}")})
        for run_id in ids
    }
    with ThreadPoolExecutor(available_cores()) as pool:
        runs = pool.map(lambda run_id: logged_run(run_id, folders[run_id]), [each for each in ids if folders[each]])
        return list(runs)


def logged_run(run_id: str, folders: Sequence[Path]) -> LoggedRun:
    """The run that these folders, one for each start, hold together."""
    run = LoggedRun(run_id)
    for folder in folders:
        run.folder = folder
        for record in records(folder):
            content = record.get(record["type"], {})
            if record["type"] == "run":
                run.name, run.group = content.get("display_name", ""), content.get("run_group", "")
                run.tags = content.get("tags", [])
                run.config |= content.get("config", {}).get("update", {})
            elif record["type"] == "config":
                run.config |= content.get("update", {})
            elif record["type"] == "summary":
                run.summary |= content.get("update", {})
            elif record["type"] == "history":
                run.history.setdefault(int(content["item"]["_step"]), {}).update(content["item"])
    return run


def records(folder: Path) -> Iterator[dict[str, Any]]:
    """Records of the file in a run's folder, in their order."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    environment = os.environ | {"WANDB_ERROR_REPORTING": "false", "WANDB_MODE": "offline"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise UserError(f"{folder}: W&B cannot read it ({' '.join(done.stderr.split())[-200:]})")
    yield from map(json.loads, done.stdout.splitlines())
