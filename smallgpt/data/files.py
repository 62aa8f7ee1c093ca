"""A user's own text as a corpus."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from smallgpt.data import formats
from smallgpt.data.content_hash import content_hash
from smallgpt.data.corpora import Corpus, group_files, part_size
from smallgpt.data.corpus_parts import CorpusPart, LineRange, Split, SplitRule, batched_texts
from smallgpt.errors import UserError, nearest


class Files(Corpus):
    """A user's own text: a file or a folder of plain text, JSON lines or Parquet, also compressed.

    In a folder, names that start with train, validation (valid, val, dev) or test are the official
    splits, also as names of subfolders; test is scored once, at the end of a training. Without a
    validation file documents are held out by hash. A single plain-text file of training text, with
    none for validation, is cut into blocks of whole paragraphs.
    """

    path: str | None = None
    """File or folder with the text."""
    field: str = "text"
    """Field of JSON lines, or column of Parquet, that holds the text."""

    @property
    def name(self) -> str:
        stem = re.sub(r"[^\w.-]+", "-", Path(self.path or "files").resolve().name)
        return stem.split(".")[0] or "files"

    def check(self) -> None:
        for path, _ in self._files():
            formats.check_file(path, self.field)

    def fingerprint(self, cache_dir: Path) -> dict[str, Any]:
        files = [[self._relative(path), split, content_hash(path, cache_dir)] for path, split in self._files()]
        rule = {"holdout": self.holdout, "dedupe": self.deduplication, "field": self.field}
        return {"corpus": "files", **rule, "files": files}

    def origin(self) -> dict[str, str]:
        return {"source": str(self._root())}

    @property
    def has_splits(self) -> bool:
        return any(split == "validation" for _, split in self._files())

    def size(self) -> int:
        return sum(path.stat().st_size for path, _ in self._files())

    def parts(self) -> Iterator[CorpusPart]:
        whole: list[tuple[Path, Split | None]] = []
        step = part_size(self.size())
        files = self._files()
        for path, split in files:
            rule = SplitRule(split, self.holdout)
            # One text alone has to be cut, or nothing of it could be held out.
            in_blocks = split is None and sum(where is None for _, where in files) == 1
            if formats.is_compressed(path) or formats.inner_suffix(path) in formats.PARQUET:
                documents = formats.read_documents(path, self.field, in_blocks)
                yield from batched_texts(((rule(text), text), share) for text, share in documents)
            elif formats.is_plain_text(path) and not in_blocks:
                whole.append((path, split))
            else:
                size = path.stat().st_size
                field = None if formats.is_plain_text(path) else self.field
                for start in range(0, size, step):
                    yield LineRange(path, start, min(size, start + step), rule, field)
        for split in ("validation", "test", "train", None):
            yield from group_files([path for path, where in whole if where == split], self.holdout, official=split)

    def _parts_are_cheap(self) -> bool:
        return not any(
            formats.is_compressed(path) or formats.inner_suffix(path) in formats.PARQUET for path, _ in self._files()
        )

    def _root(self) -> Path:
        if not self.path:
            raise UserError("data.path=null: no text given; data.path=<file or folder>")
        return Path(self.path).expanduser()

    def _relative(self, path: Path) -> str:
        root = self._root()
        return path.name if path == root else path.relative_to(root).as_posix()

    def _files(self) -> list[tuple[Path, Split | None]]:
        """The files to read, held-out ones first, and the official split of each; None: split by hash."""
        root = self._root()
        if not root.exists():
            raise UserError(f"data.path={root}: no such file or folder; {_beside(root)}")
        if root.is_file():
            return [(root, None)]
        named = [(path, official_split(path.relative_to(root))) for path in folder_files(root)]
        if not named:
            raise UserError(f"data.path={root}: the folder has no files; put text files into it")
        train = [path for path, split in named if split == "train"] or [path for path, split in named if split is None]
        held_out = [(path, split) for path, split in named if split in ("validation", "test")]
        if not train:
            raise UserError(
                f"data.path={root}: only validation or test files, nothing to train on; "
                "add a file whose name starts with train"
            )
        official = "train" if any(split == "validation" for _, split in held_out) else None
        return [*held_out, *((path, official) for path in train)]


SPLIT_NAME = re.compile(r"(?P<train>train(ing)?)|(?P<validation>validation|valid|val|dev)|(?P<test>test(ing)?)", re.I)


def official_split(path: Path) -> Split | None:
    """The split that a relative path names by one of its parts: val_0.txt, train/a.txt."""
    for part in path.parts:
        found = SPLIT_NAME.match(part)
        # "development.md" and "testimony.txt" are ordinary files.
        rest = re.sub(r"^[ _-]?(set|data)", "", part[found.end() :], flags=re.I) if found else "x"
        if found and not rest[:1].isalpha():
            return cast(Split, found.lastgroup)
    return None


def folder_files(root: Path) -> list[Path]:
    """All files under a folder but hidden ones, in order of their names."""

    def refuse(error: OSError) -> None:
        raise UserError(f"data.path={error.filename}: the folder may not be read") from None

    found = []
    for folder, folders, names in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith((".", "__pycache__"))]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    return sorted(found)


def _beside(path: Path) -> str:
    siblings = os.listdir(path.parent) if path.parent.is_dir() else []
    return "give a file or a folder" + nearest(path.name, siblings)
