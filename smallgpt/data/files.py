"""A user's own text as a corpus."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from smallgpt.data import formats
from smallgpt.data.content_hash import content_hash
from smallgpt.data.corpora import Corpus, group_files, part_size
from smallgpt.data.corpus_parts import CorpusPart, LineRange, Split, SplitRule, batched_texts
from smallgpt.data.folders import folder_files, in_words, looks_like_split, official_split
from smallgpt.data.rows import TextOf
from smallgpt.data.templates import Template
from smallgpt.errors import UserError
from smallgpt.files import nearest_beside

SPLITS_FIRST: tuple[Split | None, ...] = ("validation", "test", "train", None)


class Files(Corpus):
    """A user's own text: a file or a folder of plain text, JSON, CSV, TSV or Parquet, also compressed.

    In a folder, files and subfolders that are called train, validation (valid, val, dev) or test, also with a number
    behind it, are the official splits; test is scored once, at the end of a training. Without a validation file
    documents are held out by hash. A single plain-text file of training text, with none for validation, is cut into
    blocks of whole paragraphs.
    """

    path: str | None = None
    """File or folder with the text."""
    field: str = "text"
    """Field of JSON, or column of CSV, TSV or Parquet, that holds the text; one inside another is `meta.text`."""
    template: str | None = None
    """Text of a row with the names of fields in braces, in place of `field`: `{title}\\n{text}`."""

    @property
    def text_of(self) -> TextOf:
        """What of a row is its text."""
        return self.field if self.template is None else Template(self.template)

    @property
    def name(self) -> str:
        stem = re.sub(r"[^\w.-]+", "-", Path(self.path or "files").resolve().name)
        return stem.split(".")[0] or "files"

    def check(self) -> None:
        for path, _ in self._files():
            formats.check_file(path, self.text_of)

    def fingerprint(self, cache_dir: Path) -> dict[str, Any]:
        files = [[self._relative(path), split, content_hash(path, cache_dir)] for path, split in self._files()]
        rule: dict[str, Any] = {"holdout": self.holdout, "dedupe": self.deduplication, "field": self.field}
        if self.template is not None:
            rule["template"] = self.template
        return {"corpus": "files", **rule, "files": files}

    def origin(self) -> dict[str, str]:
        return {"source": str(self._root())}

    def left_out(self) -> str | None:
        root = self._root()
        if not root.is_dir():
            return None
        folder, read = folder_files(root), self._files()
        splits = Counter(split or "to be split by hash" for _, split in read)
        unread = folder.left_out + Counter({"files that name no split": len(folder.paths) - len(read)})
        programs = [path.name for path, _ in read if looks_like_split(path.relative_to(root))]
        said = [in_words(splits)] if len(splits) > 1 else []
        said += [f"not read: {in_words(unread)}"] if unread else []
        said += [f"no splits, which end in .txt, .jsonl or the like: {', '.join(programs[:3])}"] if programs else []
        return f"data.path={root}: {len(read):,} files are read; {'; '.join(said)}" if said else None

    @property
    def has_splits(self) -> bool:
        return any(split == "validation" for _, split in self._files())

    def size(self) -> int:
        return sum(path.stat().st_size for path, _ in self._files())

    def parts(self) -> Iterator[CorpusPart]:
        return chain.from_iterable(self.segments())

    def segments(self) -> Iterator[Iterable[CorpusPart]]:
        whole: list[tuple[Path, Split | None]] = []
        step = part_size(self.size())
        files = self._files()
        for path, split in files:
            rule = SplitRule(split, self.holdout)
            # One text alone has to be cut, or nothing of it could be held out.
            in_blocks = split is None and sum(where is None for _, where in files) == 1
            if formats.is_read_whole(path):
                yield self._batches(path, rule, in_blocks)
            elif formats.is_plain_text(path) and not in_blocks:
                whole.append((path, split))
            else:
                size = path.stat().st_size
                field = None if formats.is_plain_text(path) else self.text_of
                for start in range(0, size, step):
                    yield (LineRange(path, start, min(size, start + step), rule, field),)
        for split in SPLITS_FIRST:
            grouped = group_files([path for path, where in whole if where == split], self.holdout, official=split)
            yield from ((part,) for part in grouped)

    def _batches(self, path: Path, rule: SplitRule, in_blocks: bool) -> Iterator[CorpusPart]:
        documents = formats.read_documents(path, self.text_of, in_blocks)
        return batched_texts(((rule(text), text), share) for text, share in documents)

    def _parts_are_cheap(self) -> bool:
        return not any(formats.is_read_whole(path) for path, _ in self._files())

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
            raise UserError(f"data.path={root}: no such file or folder; give a file or a folder{nearest_beside(root)}")
        if root.is_file():
            return [(root, None)]
        if not root.is_dir():
            raise UserError(f"data.path={root}: a pipe, a socket or a device; give a file or a folder")
        folder = folder_files(root)
        named = [(path, official_split(path.relative_to(root))) for path in folder.paths]
        if not named:
            found = f": {in_words(folder.left_out)}" if folder.left_out else ""
            raise UserError(f"data.path={root}: no text files in this folder{found}; put some into it")
        train = [path for path, split in named if split == "train"] or [path for path, split in named if split is None]
        held_out = [(path, split) for path, split in named if split in ("validation", "test")]
        if not train:
            raise UserError(
                f"data.path={root}: only validation or test files, nothing to train on; add train.txt or a folder train"
            )
        official = "train" if any(split == "validation" for _, split in held_out) else None
        return [*held_out, *((path, official) for path in train)]
