"""Folders of text: which files are read, which are not and why, and which split a file's name says."""

import os
import re
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from smallgpt.data.corpus_parts import Split
from smallgpt.data.formats import ROWS, inner_name
from smallgpt.errors import UserError

SPLIT = r"(?:(?P<train>train(?:ing)?)|(?P<validation>validation|valid|val|dev)|(?P<test>test(?:ing)?))"
# train_0, train-00000-of-00004, with a hash behind it in older data sets of the hub
SHARD = r"(?:[-_. ]?\d+(?:[-_ ]?of[-_ ]?\d+)?(?:-[0-9a-f]{16})?)?"
SPLIT_FOLDER = re.compile(SPLIT + SHARD, re.I)
SPLIT_FILE = re.compile(rf"{SPLIT}(?:[-_ ]?(?:set|data))?{SHARD}", re.I)
SPLIT_SUFFIXES = {"", ".txt", ".text", ".raw", ".tokens", *ROWS}
"""A file is a split only if its name ends in one of these: train.py is a program."""


def official_split(path: Path) -> Split | None:
    """The split that a relative path names, as a whole: val_0.txt, train/a.py, test-00000-of-00002.parquet."""
    named = [SPLIT_FOLDER.fullmatch(part) for part in path.parts[:-1]]
    name = inner_name(path)
    if name.suffix.lower() in SPLIT_SUFFIXES:
        named.append(SPLIT_FILE.fullmatch(name.stem))
    return next((cast(Split, found.lastgroup) for found in named if found), None)


def looks_like_split(path: Path) -> bool:
    """Whether a file would be a split if its name ended in another way, as train.py."""
    return official_split(path) is None and bool(SPLIT_FOLDER.fullmatch(inner_name(path).stem))


@dataclass(frozen=True)
class FolderFiles:
    """Files under a folder, in the order of their paths, and what beside them is not read."""

    paths: list[Path] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    """How many there are of each kind, in words."""


def folder_files(root: Path) -> FolderFiles:
    """Finds all files under a folder that can hold text; linked folders are followed, and each is read once.

    Raises UserError for a folder that may not be read.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"data.path={error.filename}: the folder may not be read; change its permissions") from None

    found = FolderFiles()
    waiting, read = [root], set()
    for start in waiting:  # grows: a folder that is linked to is read after all that lie in their own place
        for folder, folders, names in os.walk(start, onerror=refuse):
            here = os.stat(folder)
            if (here.st_dev, here.st_ino) in read:
                found.left_out["linked folders that are read elsewhere"] += 1
                folders.clear()
                continue
            read.add((here.st_dev, here.st_ino))
            visible = sorted(name for name in folders if not name.startswith((".", "__pycache__")))
            if len(visible) < len(folders):
                found.left_out["hidden folders"] += len(folders) - len(visible)
            waiting += [Path(folder, name) for name in visible if os.path.islink(Path(folder, name))]
            folders[:] = visible
            for name in sorted(names):
                path = Path(folder, name)
                if kind := unread(path):
                    found.left_out[kind] += 1
                else:
                    found.paths.append(path)
    found.paths.sort()
    return found


def in_words(counts: Counter[str]) -> str:
    """Writes counts as `hidden files (3), empty files (1)`, without those of nothing."""
    return ", ".join(f"{kind} ({count:,})" for kind, count in counts.items() if count)


def unread(path: Path) -> str | None:
    """Kind of file that cannot hold text, in words; None for one that may."""
    if path.name.startswith("."):
        return "hidden files"
    try:
        status = path.stat()
    except OSError:
        return "links to nothing"
    if not stat.S_ISREG(status.st_mode):
        return "pipes, sockets or devices"
    return None if status.st_size else "empty files"
