"""Offline runs of W&B, read back by its own reader."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from smallgpt.training.metrics import HEADER


def wandb_folders(holder: Path, run_id: str = "*") -> list[Path]:
    """One for each time that the run was started; those of a sweep lie together, in its directory."""
    return sorted(path for path in (holder / "wandb").glob(f"*run-*-{run_id}") if not path.is_symlink())


@cache
def read(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(folder)]
    env = os.environ | {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in read(folder).splitlines()]
    return [line[kind] for line in lines if line["type"] == kind]


def summary(folder: Path) -> dict[str, Any]:
    return json.loads(read(folder, "--summary"))


def history(folder: Path) -> dict[int, dict[str, float]]:
    """The metrics of each step."""
    items = [record["item"] for record in records(folder, "history")]
    return {item["_step"]: {key: item[key] for key in HEADER if key in item} for item in items}
