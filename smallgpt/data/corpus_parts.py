"""Parts: the pieces of a corpus that one process reads and encodes on its own.

A part names text (files, or a range of one file) instead of holding it, so that handing it to
another process costs nothing. Text that cannot be read from the middle (compressed, Parquet, the
hub) is read by one process and travels as `Texts`.
"""

import codecs
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, Protocol

from smallgpt.data.rows import TextOf, json_line_rows, texts_of
from smallgpt.errors import UserError, one_line

Split = Literal["train", "validation", "test"]
Document = tuple[Split, str]

TEXTS_BYTES = 1 << 20
BLOCK_BYTES = 4096
LONGEST_BLOCK_BYTES = 4 * BLOCK_BYTES
BYTE_ORDER_MARK = codecs.BOM_UTF8
"""What some editors write before a text; it is none of it."""


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
            with reading(path):
                content = path.read_bytes()
            try:
                text = content.removeprefix(BYTE_ORDER_MARK).decode("utf-8")
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
    field: TextOf | None

    @property
    def size(self) -> int:
        return self.stop - self.start

    def documents(self) -> Iterator[Document]:
        lines = self._lines()
        texts = (
            paragraph_documents(lines, self.path)
            if self.field is None
            else texts_of(json_line_rows(lines, self.path, self.start), self.field)
        )
        for text in texts:
            yield self.rule(text), text

    def _lines(self) -> Iterator[bytes]:
        with reading(self.path), self.path.open("rb") as file:
            if self.start:
                # The line that straddles the start belongs to the range before.
                file.seek(self.start - 1)
                file.readline()
            elif first := file.readline().removeprefix(BYTE_ORDER_MARK):
                yield first
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
    """Batches of about a mebibyte, one at least; each document comes with its share of the corpus' size."""
    batch: list[Document] = []
    length = size = 0
    for document, share in documents:
        batch.append(document)
        length += len(document[1])
        size += share
        if length >= TEXTS_BYTES:
            yield Texts(tuple(batch), size)
            batch, length, size = [], 0, 0
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


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Context of what reads a user's file: what goes wrong there is one line that names the file."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except PermissionError:
        raise UserError(f"data.path={path}: may not be read; change its permissions") from None
    except FileNotFoundError:
        raise UserError(f"data.path={path}: gone while it was read; start again when it stays") from None
    except Exception as error:  # those of gzip, zlib and pyarrow share no base class
        raise UserError(
            f"data.path={path}: cut or damaged, or not what its name says ({one_line(error)}); give it whole"
        ) from None


def not_text(path: Path) -> UserError:
    """Error for a file that is not UTF-8 text."""
    return UserError(
        f"data.path={path}: not UTF-8 text; give text, or a format that its name says: .jsonl, .json, .csv, "
        ".tsv or .parquet (also .gz or .zst)"
    )


def decode_utf8(data: bytes, path: Path) -> str:
    """Text of a file's bytes; raises UserError where they are not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise not_text(path) from None
