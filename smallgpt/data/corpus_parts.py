"""Parts: the pieces of a corpus that one process reads and encodes on its own.

A part names text (files, or a range of one file) instead of holding it, so that handing it to
another process costs nothing. Text that cannot be read from the middle (compressed, Parquet, the
hub) is read by one process and travels as `Texts`.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, Protocol

from smallgpt.errors import UserError, nearest

Split = Literal["train", "validation", "test"]
Document = tuple[Split, str]

TEXTS_BYTES = 1 << 20
BLOCK_BYTES = 4096
LONGEST_BLOCK_BYTES = 4 * BLOCK_BYTES


class CorpusPart(Protocol):
    """Piece of a corpus; `size` counts towards the corpus' size, and only its share of the whole matters."""

    @property
    def size(self) -> int: ...

    def documents(self) -> Iterator[Document]: ...


@dataclass(frozen=True)
class SplitRule:
    """Where a document goes: to an official split, or by the hash of its text."""

    official: Split | None = None
    holdout: float = 0.0

    def __call__(self, text: str) -> Split:
        if self.official:
            return self.official
        return "validation" if hash_share(document_hash(text)) <= self.holdout else "train"


def document_hash(text: str) -> int:
    """The first 64 bits of the SHA-256 of a text: documents are split by it, and told apart."""
    return int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def hash_share(number: int) -> float:
    """A 64-bit number as a share of all of them."""
    return number / (1 << 64)


@dataclass(frozen=True)
class WholeFiles:
    """Plain-text files, each one document."""

    files: tuple[Path, ...]
    size: int
    rule: SplitRule
    skip_undecodable: bool

    def documents(self) -> Iterator[Document]:
        for path in self.files:
            try:
                text = path.read_bytes().decode("utf-8")
            except UnicodeDecodeError:
                if not self.skip_undecodable:
                    raise not_text(path) from None
                continue
            yield self.rule(text), text


@dataclass(frozen=True)
class LineRange:
    """The lines of one file that start in [start, stop): JSON lines, or text cut into blocks."""

    path: Path
    start: int
    stop: int
    rule: SplitRule
    field: str | None

    @property
    def size(self) -> int:
        return self.stop - self.start

    def documents(self) -> Iterator[Document]:
        lines = self._lines()
        texts = (
            paragraph_documents(lines, self.path)
            if self.field is None
            else json_line_texts(lines, self.field, self.path)
        )
        for text in texts:
            yield self.rule(text), text

    def _lines(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            if self.start:
                # The line that straddles the start belongs to the range before.
                file.seek(self.start - 1)
                file.readline()
            while file.tell() < self.stop and (line := file.readline()):
                yield line


@dataclass(frozen=True)
class Texts:
    """Documents already in memory."""

    items: tuple[Document, ...]
    size: int

    def documents(self) -> Iterator[Document]:
        yield from self.items


def batched_texts(documents: Iterable[tuple[Document, int]]) -> Iterator[Texts]:
    """Batches of about a mebibyte; each document comes with its share of the corpus' size."""
    batch: list[Document] = []
    length = size = 0
    for document, share in documents:
        batch.append(document)
        length += len(document[1])
        size += share
        if length >= TEXTS_BYTES:
            yield Texts(tuple(batch), size)
            batch, length, size = [], 0, 0
    if batch or size:
        yield Texts(tuple(batch), size)


def paragraph_documents(lines: Iterable[bytes], path: Path) -> Iterator[str]:
    """Cuts running text into documents of whole paragraphs.

    A block ends at the first blank line after BLOCK_BYTES, at any line end or, in text without
    lines, any space after LONGEST_BLOCK_BYTES. Joined, the blocks are the text.
    """
    block = b""
    for line in lines:
        for piece in _pieces(line):
            block += piece
            if len(block) >= (LONGEST_BLOCK_BYTES if piece.strip() else BLOCK_BYTES):
                yield decode_utf8(block, path)
                block = b""
    if block:
        yield decode_utf8(block, path)


def _pieces(line: bytes) -> Iterator[bytes]:
    start = 0
    while len(line) - start > LONGEST_BLOCK_BYTES:
        stop = line.rfind(b" ", start + 1, start + LONGEST_BLOCK_BYTES)
        if stop < 0:
            stop = start + LONGEST_BLOCK_BYTES
            while line[stop] & 0xC0 == 0x80:  # never inside a character
                stop -= 1
        yield line[start:stop]
        start = stop
    yield line[start:]


def json_line_texts(lines: Iterable[bytes], field: str, path: Path) -> Iterator[str]:
    """Texts in a field of JSON lines; blank lines are passed over."""
    for line in lines:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            raise UserError(f"data.path={path}: not JSON lines ({_shown(line)}); give one JSON object a line") from None
        yield field_of(row, field, path)


def field_of(row: object, field: str, path: Path) -> str:
    """Text of one row; raises UserError for a missing field or one that is not text."""
    if not isinstance(row, dict) or field not in row:
        names = [str(name) for name in row] if isinstance(row, dict) else []
        raise unknown_field(field, names, path)
    text = row[field]
    if not isinstance(text, str):
        raise UserError(
            f"data.field={field}: holds {type(text).__name__}, not text, in {path}; name a field of strings"
        )
    if text.isascii():
        return text
    # JSON may hold half a surrogate pair, which has no UTF-8.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def unknown_field(field: str, names: list[str], path: Path) -> UserError:
    """Error for a field that a file does not have, with those that it has."""
    return UserError(
        f"data.field={field}: no such field in {path}; there is {', '.join(names) or 'none'}{nearest(field, names)}"
    )


def not_text(path: Path) -> UserError:
    """Error for a file that is not UTF-8 text."""
    return UserError(f"data.path={path}: not UTF-8 text; give text, .jsonl or .parquet (also .gz or .zst)")


def decode_utf8(data: bytes, path: Path) -> str:
    """Text of a file's bytes; raises UserError where they are not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise not_text(path) from None


def _shown(line: bytes) -> str:
    return re.sub(r"\s+", " ", line[:30].decode("utf-8", "replace")).strip() + "..."
