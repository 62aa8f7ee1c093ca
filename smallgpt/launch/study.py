"""The study of a search: Optuna's journal of its trials, one file at the top of the sweep's directory."""

import json
from pathlib import Path

import optuna
from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from smallgpt.errors import UserError
from smallgpt.notices import say

STUDY = "study.log"


def open_study(sweep_dir: Path, prune: bool, objectives: int = 1) -> optuna.Study:
    """Opens the study of a directory, or begins one with so many objectives."""
    storage = JournalStorage(JournalFileBackend(str(sweep_dir / STUDY)))
    pruner = optuna.pruners.MedianPruner() if prune else optuna.pruners.NopPruner()
    return optuna.create_study(
        study_name="search",
        storage=storage,
        pruner=pruner,
        directions=["minimize"] * objectives,
        load_if_exists=True,
    )


def study_lock(sweep_dir: Path) -> FileLock:
    """Lock of the one process that may search in a directory."""
    return FileLock(sweep_dir / ".study.lock", timeout=0)


def refuse_damaged(sweep_dir: Path) -> None:
    """Raises UserError where a whole line of the study is no entry of a journal."""
    path = sweep_dir / STUDY
    for number, line in enumerate(lines_of(path)[0].splitlines(), start=1):
        try:
            known = isinstance(json.loads(line)["op_code"], int)
        except (ValueError, TypeError, KeyError):
            known = False
        if not known:
            raise UserError(f"{path}: line {number} is damaged; choose another hydra.sweep.dir")


def lines_of(path: Path) -> tuple[bytes, bytes]:
    """The whole lines of a file, and what stands after the last of them."""
    content = path.read_bytes() if path.exists() else b""
    end = content.rfind(b"\n") + 1
    return content[:end], content[end:]


def cut_torn_line(sweep_dir: Path) -> None:
    """Cuts what a killed search has half written at the end of its study; only for who holds the lock.

    Optuna would add the next line to it, and could never read the file again.
    """
    path = sweep_dir / STUDY
    whole, torn = lines_of(path)
    if torn:
        with path.open("r+b") as file:
            file.truncate(len(whole))
        say(f"{path}: its last line was half written, and is cut; what it said is found out again")
