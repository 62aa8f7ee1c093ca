"""Corpora: where text comes from and which of it is held out.

Each class is a settings group (conf/data/*.yaml) and yields documents as (split, text), cut into
parts that can be read in any process. The split goes by document and never by position.
"""

import os
import sysconfig
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import Field

from smallgpt.data.content_hash import hash_of
from smallgpt.data.corpus_parts import CorpusPart, Split, SplitRule, WholeFiles, hash_share
from smallgpt.errors import UserError
from smallgpt.settings import Group

MIB = 1 << 20
# Parts of this many to a corpus, so that the last ones even out what workers have left.
PARTS = 64


class Corpus(Group):
    """What `prepare` needs from a corpus; a new kind fills `name`, `parts` and `fingerprint`."""

    holdout: float = Field(0.05, gt=0, lt=1)
    """Share of the documents held out for validation, where the corpus has no official split."""

    @property
    def name(self) -> str:
        raise NotImplementedError

    def check(self) -> None:
        """Raises UserError for what can be seen wrong without reading it all or using a network."""

    def check_reachable(self) -> None:
        """Raises UserError when the text would have to come over a network that is not there."""

    def fingerprint(self, cache_dir: Path) -> dict[str, Any]:
        """Plain values that decide the text and its split."""
        raise NotImplementedError

    def origin(self) -> dict[str, str]:
        """Source and licence of the text, for people."""
        return {}

    def size(self) -> int | None:
        """Sum of the parts' sizes, for progress; None where it is unknown."""
        return None

    def parts(self) -> Iterator[CorpusPart]:
        raise NotImplementedError

    def documents(self, split: Split) -> Iterator[str]:
        for part in self.parts():
            yield from (text for where, text in part.documents() if where == split)

    def sample(self, limit: int) -> Iterator[str]:
        """Training documents of about `limit` characters, from all over the corpus if that is free.

        Parts that only name text can be skipped at no cost.
        """
        stride = max(1, (self.size() or 0) // limit) if self._parts_are_cheap() else 1
        for part in islice(self.parts(), 0, None, stride):
            for split, text in part.documents():
                if split == "train":
                    yield text
                    limit -= len(text)
            if limit <= 0:
                return

    def _parts_are_cheap(self) -> bool:
        return False


class StandardLibrary(Corpus):
    """The source text of Python's own standard library: about 30 MB, one document a file."""

    @property
    def name(self) -> str:
        return "stdlib"

    def check(self) -> None:
        if not library_files():
            raise UserError(
                f"data=stdlib: no Python source under {library_root()}; use data=files data.path=<your text>"
            )

    def fingerprint(self, cache_dir: Path) -> dict[str, Any]:
        root = library_root()
        files = [[str(path.relative_to(root)), hash_of(path)] for path in library_files()]
        return {"corpus": "stdlib", "holdout": self.holdout, "files": files}

    def origin(self) -> dict[str, str]:
        version = sysconfig.get_python_version()
        return {"source": f"standard library of Python {version}", "licence": "PSF-2.0"}

    def size(self) -> int:
        return sum(path.stat().st_size for path in library_files())

    def parts(self) -> Iterator[CorpusPart]:
        files = library_files()
        root = library_root()
        names = [path.relative_to(root).as_posix() for path in files]
        return group_files(files, names, self.holdout, skip_undecodable=True)

    def _parts_are_cheap(self) -> bool:
        return True


def library_root() -> Path:
    """Folder of Python's own standard library."""
    return Path(sysconfig.get_path("stdlib"))


def library_files() -> list[Path]:
    """Python files of the standard library in the order of their paths, installed packages and empty files left out."""
    skip = {"site-packages", "dist-packages", "__pycache__"}
    found = []
    for folder, folders, names in os.walk(library_root()):
        folders[:] = [name for name in folders if name not in skip]
        found += [Path(folder, name) for name in names if name.endswith(".py")]
    # An empty __init__.py is no document.
    return sorted(path for path in found if path.is_file() and path.stat().st_size)


def group_files(
    files: list[Path],
    names: list[str],
    holdout: float,
    official: Split | None = None,
    skip_undecodable: bool = False,
) -> Iterator[WholeFiles]:
    """Parts of whole files, split by the hash of their names; one file is always held out."""
    rule = SplitRule(official, holdout)
    splits: list[Split] = [rule(name) for name in names]
    if not official and len(files) > 1 and "validation" not in splits:
        splits[names.index(min(names, key=hash_share))] = "validation"
    step = part_size(sum(path.stat().st_size for path in files))
    group: list[tuple[Path, Split]] = []
    size = 0
    for path, split in zip(files, splits, strict=True):
        group.append((path, split))
        size += path.stat().st_size
        if size >= step:
            yield WholeFiles(tuple(group), size, skip_undecodable)
            group, size = [], 0
    if group:
        yield WholeFiles(tuple(group), size, skip_undecodable)


def part_size(total: int) -> int:
    """Size of a part, which depends on nothing but the size of the text: the parts are the same on every machine."""
    return min(max(total // PARTS, MIB), 64 * MIB)
