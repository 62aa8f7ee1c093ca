"""Rows of a file as texts: one field of JSON lines, of a JSON array, of CSV and TSV, or of Parquet.

A field may lie inside another one, `meta.text`. A row without text (null, or an empty cell) is an empty text, which the
preparation leaves out and counts. Whatever is wrong with a row is said with the number of its line.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from smallgpt.errors import UserError, nearest, one_line

ROWS_AT_ONCE = 256


class Place(NamedTuple):
    """Where a row stands in a file; the lines before it are counted only when it is shown."""

    path: Path
    number: int
    start: int = 0
    """Byte in whose line or before it the count began, where that is not the file's beginning."""
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.path}, {self.unit} {self.number + (lines_until(self.path, self.start) if self.start else 0)}"


def lines_until(path: Path, stop: int) -> int:
    """Number of the line in which the byte before `stop` lies, from 1."""
    with path.open("rb") as file:
        return 1 + sum(file.read(min(1 << 20, stop - 1 - start)).count(b"\n") for start in range(0, stop - 1, 1 << 20))


def json_line_texts(lines: Iterable[bytes], field: str, path: Path, start: int = 0) -> Iterator[str]:
    """Texts in a field of JSON lines; blank lines are passed over."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = Place(path, number, start)
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            start_of_line = re.sub(r"\s+", " ", line[:30].decode("utf-8", "replace")).strip()
            raise UserError(f"data.path={place}: not JSON ({start_of_line}...); give one JSON object a line") from None
        yield field_of(row, field, place)


def json_array_texts(content: bytes, field: str, path: Path) -> Iterator[str]:
    """Texts in a field of the objects in one JSON array."""
    try:
        rows = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"data.path={path}: a JSON array that is cut or damaged ({one_line(error)}); give it whole"
        ) from None
    for number, row in enumerate(rows, 1):
        yield field_of(row, field, Place(path, number, unit="row"))


def table_texts(file: BinaryIO | io.BufferedIOBase, field: str, path: Path, delimiter: str) -> Iterator[str]:
    """Texts in a column of a table with a header, CSV or TSV; a quoted cell may have several lines."""
    csv.field_size_limit(1 << 62)  # a document may be long
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")  # ty: ignore[invalid-argument-type]
    rows = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        header = next(rows, [])
        if field not in header:
            raise unknown_field(field, header, path)
        column = header.index(field)
        for row in rows:
            if row and len(row) != len(header):
                raise UserError(
                    f"data.path={Place(path, rows.line_num)}: {len(row)} cells, and the header has {len(header)}; "
                    "put quotes around a cell with a delimiter in it"
                )
            if row:
                yield row[column]
    except csv.Error as error:
        raise UserError(
            f"data.path={Place(path, rows.line_num)}: not CSV ({error}); a cell has a quote at both ends, or none"
        ) from None
    finally:
        text.detach()  # who opened the file closes it


def parquet_texts(file: Any, field: str, path: Path) -> Iterator[str]:
    """Texts in a column of an open Parquet file."""
    from pyarrow import types

    number = 0
    for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=[field]):
        column = batch.column(0)
        while types.is_struct(column.type):  # of a nested field the part that was asked for
            column = column.flatten()[0]
        for value in column.to_pylist():
            number += 1
            yield as_text(value, field, Place(path, number, unit="row"))


def field_of(row: object, field: str, place: Place) -> str:
    """Text of one row; raises UserError for a missing field or one that holds neither text nor null."""
    if not isinstance(row, dict):
        raise UserError(f"data.path={place}: {json_kind(row)}, not an object with fields; give one JSON object a row")
    value, name = row, field
    while isinstance(value, dict) and name not in value and "." in name:
        head, _, name = name.partition(".")
        value = value.get(head, {})
    if value is None:
        return ""
    if not isinstance(value, dict) or name not in value:
        raise unknown_field(field, field_names(row), place)
    return as_text(value[name], field, place)


def as_text(value: object, field: str, place: Place) -> str:
    """The value of a field as a text; null is an empty one."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(f"data.field={field}: holds {json_kind(value)}, not text, in {place}; name a field of strings")
    if value.isascii():
        return value
    # JSON may hold half a surrogate pair, which has no UTF-8.
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def json_kind(value: object) -> str:
    """What a JSON value is, in words."""
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null" if value is None else type(value).__name__)


def field_names(row: dict[str, Any], prefix: str = "") -> list[str]:
    """Names of a row's fields, those inside another one with a dot."""
    return [
        name
        for key, value in row.items()
        for name in (field_names(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [f"{prefix}{key}"])
    ]


def unknown_field(field: str, names: list[str], place: Place | Path) -> UserError:
    """Error for a field that a file does not have, with those that it has."""
    return UserError(
        f"data.field={field}: no such field in {place}; there is {', '.join(names) or 'none'}{nearest(field, names)}"
    )
