"""File formats of a user's own text: plain text, JSON lines, Parquet; plain or compressed."""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from smallgpt.data.corpus_parts import (
    decode_utf8,
    field_of,
    json_line_texts,
    not_text,
    paragraph_documents,
    unknown_field,
)
from smallgpt.errors import UserError, one_line

COMPRESSED = {".gz", ".zst", ".zstd"}
JSON_LINES = {".jsonl", ".ndjson", ".json"}
PARQUET = {".parquet"}
PEEK_BYTES = 1 << 16


def is_compressed(path: Path) -> bool:
    """Whether the name of a file says that it is compressed."""
    return path.suffix.lower() in COMPRESSED


def inner_suffix(path: Path) -> str:
    """Suffix of a file below its compression: `.jsonl` for a.jsonl.gz."""
    return (Path(path.stem) if is_compressed(path) else path).suffix.lower()


def is_plain_text(path: Path) -> bool:
    """Whether a file is read as plain text, neither JSON lines nor Parquet."""
    return inner_suffix(path) not in JSON_LINES | PARQUET


def decompressed(raw: BinaryIO, path: Path) -> BinaryIO | gzip.GzipFile:
    """The bytes behind an open file, decompressed as the path says."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return gzip.GzipFile(fileobj=raw)
    if suffix in COMPRESSED:
        import zstandard

        reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        return io.BufferedReader(reader)
    return raw


def read_documents(path: Path, field: str, in_blocks: bool) -> Iterator[tuple[str, int]]:
    """Documents of a file as (text, share of the file's size), read from the start.

    Plain text is one document, or with `in_blocks` many.
    """
    size = path.stat().st_size
    if inner_suffix(path) in PARQUET:
        yield from _parquet_rows(path, field, size)
        return
    with path.open("rb") as raw:
        file = decompressed(raw, path)
        if not is_plain_text(path):
            texts = json_line_texts(file, field, path)
        elif in_blocks:
            texts = paragraph_documents(file, path)
        else:
            texts = iter([decode_utf8(file.read(), path)])
        position = 0
        for text in texts:
            yield text, raw.tell() - position
            position = raw.tell()


def _parquet_rows(path: Path, field: str, size: int) -> Iterator[tuple[str, int]]:
    file = _parquet_file(path)
    count = max(1, file.metadata.num_rows)
    done = shared = 0
    for batch in file.iter_batches(batch_size=256, columns=[field]):
        for text in batch.column(0).to_pylist():
            done += 1
            share = size * done // count - shared
            shared += share
            if text is not None:
                yield field_of({field: text}, field, path), share


def _parquet_file(path: Path) -> Any:
    import pyarrow.parquet

    if is_compressed(path):
        with path.open("rb") as raw:
            return pyarrow.parquet.ParquetFile(io.BytesIO(decompressed(raw, path).read()))
    return pyarrow.parquet.ParquetFile(path)


def check_file(path: Path, field: str) -> None:
    """Opens the file and looks at its beginning; raises UserError if it is not of the format that its name says."""
    try:
        if path.stat().st_size == 0:
            raise UserError(f"data.path={path}: the file is empty; give a file with text")
        if inner_suffix(path) in PARQUET:
            _check_parquet(path, field)
            return
        with path.open("rb") as raw:
            file = decompressed(raw, path)
            start = file.read(PEEK_BYTES)
            if not is_plain_text(path):
                _check_json(start, file, field, path)
    except PermissionError:
        raise UserError(f"data.path={path}: may not be read; change its permissions") from None
    except (OSError, EOFError) as error:
        raise UserError(f"data.path={path}: cannot be read ({one_line(error)})") from None
    except Exception as error:
        # zstandard's and pyarrow's errors share no base class.
        if isinstance(error, UserError):
            raise
        raise UserError(f"data.path={path}: not what its name says ({one_line(error)})") from None
    if not start.strip():
        raise UserError(f"data.path={path}: holds no text; give a file with text")
    _check_utf8(start, path)


def _check_utf8(start: bytes, path: Path) -> None:
    if b"\0" in start:
        raise not_text(path)
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        # The peek may end inside a character.
        if len(start) < PEEK_BYTES or error.start < len(start) - 4:
            raise not_text(path) from None


def _check_json(start: bytes, file: BinaryIO | gzip.GzipFile, field: str, path: Path) -> None:
    _check_utf8(start, path)
    first = start if b"\n" in start.strip() else start + file.readline()
    for _ in json_line_texts(first.lstrip().splitlines()[:1], field, path):
        pass


def _check_parquet(path: Path, field: str) -> None:
    file = _parquet_file(path)
    names = file.schema_arrow.names
    if field not in names:
        raise unknown_field(field, names, path)
    kind = str(file.schema_arrow.field(field).type)
    if kind not in ("string", "large_string", "string_view"):
        raise UserError(f"data.field={field}: holds {kind}, not text, in {path}")
    if file.metadata.num_rows == 0:
        raise UserError(f"data.path={path}: the file has no rows; give a file with text")
