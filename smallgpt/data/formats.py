"""File formats of a user's own text: plain text, JSON, CSV and TSV, Parquet; plain or compressed."""

import gzip
import io
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from smallgpt.data.corpus_parts import BYTE_ORDER_MARK, decode_utf8, not_text, paragraph_documents, reading
from smallgpt.data.rows import (
    Place,
    Row,
    TextOf,
    json_array_rows,
    json_line_rows,
    key_of,
    names_of,
    parquet_rows,
    table_rows,
    texts_of,
    unknown_field,
)
from smallgpt.data.templates import Template
from smallgpt.errors import UserError

COMPRESSED = {".gz", ".zst", ".zstd"}
JSON = {".jsonl", ".ndjson", ".json"}
TABLES = {".csv": ",", ".tsv": "\t"}
"""Suffixes of tables as text, and what stands between their cells."""
PARQUET = {".parquet"}
ROWS = JSON | TABLES.keys() | PARQUET
PEEK_BYTES = 1 << 16


def is_compressed(path: Path) -> bool:
    """Whether the name of a file says that it is compressed."""
    return path.suffix.lower() in COMPRESSED


def inner_name(path: Path) -> Path:
    """Name of a file below its compression: a.jsonl of a.jsonl.gz."""
    return Path(path.stem if is_compressed(path) else path.name)


def inner_suffix(path: Path) -> str:
    """Suffix of a file below its compression: `.jsonl` for a.jsonl.gz."""
    return inner_name(path).suffix.lower()


def is_plain_text(path: Path) -> bool:
    """Whether a file is read as plain text, and not as rows."""
    return inner_suffix(path) not in ROWS


def is_read_whole(path: Path) -> bool:
    """Whether a file can be read from its beginning alone, so that several processes cannot share it."""
    suffix = inner_suffix(path)
    return is_compressed(path) or suffix in PARQUET or suffix in TABLES or (suffix == ".json" and _is_array(path))


def decompressed(raw: BinaryIO, path: Path) -> BinaryIO | io.BufferedIOBase:
    """The bytes behind an open file, decompressed as the path says; a cut file raises an error when it is read."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return gzip.GzipFile(fileobj=raw)
    if suffix in COMPRESSED:
        import pyarrow

        stream: Any = pyarrow.CompressedInputStream(raw, "zstd")
        return io.BufferedReader(stream)
    return raw


def read_documents(path: Path, field: TextOf, in_blocks: bool) -> Iterator[tuple[str, int]]:
    """Documents of a file as (text, share of the file's size), read from the start.

    Plain text is one document, or with `in_blocks` many.
    """
    with reading(path), path.open("rb") as raw:
        if inner_suffix(path) in PARQUET:
            yield from _parquet_documents(raw, path, field)
            return
        file = decompressed(raw, path)  # when nothing holds it any more, it closes `raw`
        position = 0
        for text in _texts(file, path, field, in_blocks):
            yield text, raw.tell() - position
            position = raw.tell()


def read_rows(path: Path) -> Iterator[tuple[Row, Place]]:
    """Rows of a file with all their fields, with their places. Raises UserError for plain text."""
    if is_plain_text(path):
        raise UserError(
            f"data.path={path}: plain text, and examples are rows; give .jsonl, .json, .csv, .tsv or .parquet"
        )
    with reading(path), path.open("rb") as raw:
        if inner_suffix(path) in PARQUET:
            yield from parquet_rows(_parquet_file(raw, path), path)
        else:
            yield from _rows(decompressed(raw, path), path)


def _texts(file: BinaryIO | io.BufferedIOBase, path: Path, field: TextOf, in_blocks: bool) -> Iterator[str]:
    if not is_plain_text(path):
        return texts_of(_rows(file, path, field), field)
    first = file.readline().removeprefix(BYTE_ORDER_MARK)
    if in_blocks:
        return paragraph_documents(chain([first], file), path)
    return iter([decode_utf8(first + file.read(), path)])


def _rows(file: BinaryIO | io.BufferedIOBase, path: Path, needed: TextOf | None = None) -> Iterator[tuple[Row, Place]]:
    suffix = inner_suffix(path)
    if suffix in TABLES:
        return table_rows(file, path, TABLES[suffix], needed)
    if suffix == ".json" and _is_array(path):
        return json_array_rows(file.read(), path)
    return json_line_rows(chain([file.readline().removeprefix(BYTE_ORDER_MARK)], file), path)


def _is_array(path: Path) -> bool:
    with reading(path), path.open("rb") as raw:
        return decompressed(raw, path).read(PEEK_BYTES).removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b"[")


def _parquet_documents(raw: BinaryIO, path: Path, field: TextOf) -> Iterator[tuple[str, int]]:
    file, size = _parquet_file(raw, path), path.stat().st_size
    count = max(1, file.metadata.num_rows)
    shared = 0
    for done, text in enumerate(texts_of(parquet_rows(file, path, names_of(field)), field), 1):
        share = size * done // count - shared
        shared += share
        yield text, share


def _parquet_file(raw: BinaryIO, path: Path) -> Any:
    import pyarrow.parquet

    return pyarrow.parquet.ParquetFile(io.BytesIO(decompressed(raw, path).read()) if is_compressed(path) else raw)


def check_file(path: Path, field: TextOf) -> None:
    """Opens the file and looks at its beginning; raises UserError if it is not of the format that its name says."""
    with reading(path):
        if path.stat().st_size == 0:
            raise UserError(f"data.path={path}: the file is empty; give a file with text")
        with path.open("rb") as raw:
            if inner_suffix(path) in PARQUET:
                _check_parquet(_parquet_file(raw, path), path, field)
                return
            start = decompressed(raw, path).read(PEEK_BYTES)
    if not start.strip():
        raise UserError(f"data.path={path}: holds no text; give a file with text")
    if b"\0" in start:
        raise not_text(path)
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        # The peek may end inside a character.
        if len(start) < PEEK_BYTES or error.start < len(start) - 4:
            raise not_text(path) from None
    if not is_plain_text(path):
        for _ in read_documents(path, field, in_blocks=False):
            return


def _check_parquet(file: Any, path: Path, field: TextOf) -> None:
    kinds, texts = dict(_parquet_kinds(file.schema_arrow)), ("string", "large_string", "string_view", "null")
    for name in names_of(field):
        if name not in kinds:
            raise unknown_field(name, list(kinds), path, key_of(field))
        if not isinstance(field, Template) and kinds[name] not in texts:
            raise UserError(f"data.field={field}: holds {kinds[name]}, not text, in {path}")
    if file.metadata.num_rows == 0:
        raise UserError(f"data.path={path}: the file has no rows; give a file with text")


def _parquet_kinds(fields: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and types of columns, those inside another one with a dot."""
    from pyarrow import types

    for each in fields:
        name, kind = prefix + each.name, each.type
        if types.is_struct(kind):
            yield from _parquet_kinds(kind, f"{name}.")
        else:
            yield name, str(kind.value_type if types.is_dictionary(kind) else kind)
