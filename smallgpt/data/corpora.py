"""Corpora: where text comes from and which of it is held out.

Each class is a settings group (conf/data/*.yaml) and yields documents as (split, text), cut into
parts that can be read in any process. The split goes by document and never by position.
"""

import os
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from smallgpt.data.content_hash import hash_of
from smallgpt.data.corpus_parts import (
    BYTE_ORDER_MARK,
    CorpusPart,
    Split,
    SplitRule,
    WholeFiles,
    document_hash,
    hash_share,
    reading,
)
from smallgpt.data.duplicates import Selection
from smallgpt.errors import UserError
from smallgpt.settings import Group

MIB = 1 << 20
# Parts of this many to a corpus, so that the last ones even out what workers have left.
PARTS = 64
# Duplicates that are nearly equal are looked for in corpora up to this size: it costs as much as tokenizing again.
NEAR_BYTES = 64 * MIB
# With more files the hash holds some of them out.
FEW_FILES = 1000

Deduplication = Literal["near", "exact", "none"]


class Corpus(Group):
    """What `prepare` needs from a corpus; a new kind fills `name`, `parts` and `fingerprint`."""

    holdout: float = Field(0.05, gt=0, lt=1)
    """Share of the documents held out for validation, where the corpus has no official split."""
    dedupe: Deduplication | None = None
    """Which duplicates are left out before the split; null: near up to 64 MiB of text, exact above, none where the
    corpus has official splits."""

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def has_splits(self) -> bool:
        """Whether the corpus says itself which text is held out."""
        return False

    @property
    def deduplication(self) -> Deduplication:
        """`dedupe`, or what null stands for."""
        if self.dedupe is not None:
            return self.dedupe
        if self.has_splits:
            return "none"
        size = self.size()
        return "near" if size is not None and size <= NEAR_BYTES else "exact"

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

    def left_out(self) -> str | None:
        """What of the given text is not read, and what is read as which split, in a line for people."""
        return None

    def size(self) -> int | None:
        """Sum of the parts' sizes, for progress; None where it is unknown."""
        return None

    def parts(self) -> Iterator[CorpusPart]:
        raise NotImplementedError

    def segments(self) -> Iterator[Iterable[CorpusPart]]:
        """All parts in order, in groups of which each can be read without the others, by another machine too."""
        if self._parts_are_cheap():
            yield from ((part,) for part in self.parts())
        else:
            yield self.parts()

    def documents(self, split: Split) -> Iterator[str]:
        for part in self.parts():
            yield from (text for where, text in part.documents() if where == split)

    def sample(self, limit: int, selection: Selection) -> Iterator[str]:
        """Selected training documents of about `limit` characters, from all over the corpus if that is free.

        Parts that only name text can be skipped at no cost.
        """
        stride = max(1, (self.size() or 0) // limit) if self._parts_are_cheap() else 1
        for part in islice(self.parts(), 0, None, stride):
            for split, text in part.documents():
                if selection(split, document_hash(text)) == "train":
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
        if not library_files(library_root()):
            raise UserError(
                f"data=stdlib: no Python source under {library_root()}; use data=files data.path=<your text>"
            )

    def fingerprint(self, cache_dir: Path) -> dict[str, Any]:
        root = library_root()
        files = [[str(path.relative_to(root)), hash_of(path)] for path in library_files(root)]
        return {"corpus": "stdlib", "holdout": self.holdout, "dedupe": self.deduplication, "files": files}

    def origin(self) -> dict[str, str]:
        version = sysconfig.get_python_version()
        return {"source": f"standard library of Python {version}", "licence": "PSF-2.0"}

    def size(self) -> int:
        return sum(path.stat().st_size for path in library_files(library_root()))

    def parts(self) -> Iterator[CorpusPart]:
        return group_files(library_files(library_root()), self.holdout, skip_undecodable=True)

    def _parts_are_cheap(self) -> bool:
        return True


def library_root() -> Path:
    """Folder of Python's own standard library."""
    return Path(sysconfig.get_path("stdlib"))


@cache  # a sweep asks once for each of its jobs, and walking through two thousand files takes a while
def library_files(root: Path) -> tuple[Path, ...]:
    """Python files of the standard library in the order of their paths, installed packages and empty files left out."""
    skip = {"site-packages", "dist-packages", "__pycache__"}
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in skip]
        found += [Path(folder, name) for name in names if name.endswith(".py")]
    # An empty __init__.py is no document.
    return tuple(sorted(path for path in found if path.is_file() and path.stat().st_size))


def group_files(
    files: Sequence[Path], holdout: float, official: Split | None = None, skip_undecodable: bool = False
) -> Iterator[WholeFiles]:
    """Parts of whole files, split by the hash of their text; of few files at least one is held out."""
    if not official and 1 < len(files) < FEW_FILES:
        holdout = max(holdout, min(hash_share(file_hash(path)) for path in files))
    rule = SplitRule(official, holdout)
    step = part_size(sum(path.stat().st_size for path in files))
    group: list[Path] = []
    size = 0
    for path in files:
        group.append(path)
        size += path.stat().st_size
        if size >= step:
            yield WholeFiles(tuple(group), size, rule, skip_undecodable)
            group, size = [], 0
    if group:
        yield WholeFiles(tuple(group), size, rule, skip_undecodable)


def file_hash(path: Path) -> int:
    """`document_hash` of the text in a file."""
    with reading(path):
        content = path.read_bytes().removeprefix(BYTE_ORDER_MARK)
    return int.from_bytes(sha256(content).digest()[:8], "big")


def part_size(total: int) -> int:
    """Size of a part, which depends on nothing but the size of the text: the parts are the same on every machine."""
    return min(max(total // PARTS, MIB), 64 * MIB)
