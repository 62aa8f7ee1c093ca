"""Rows of a file, of JSON lines, of a JSON array, of CSV and TSV, or of Parquet, and their texts.

A text is one field of a row, which may lie inside another one, `meta.text`, or a template over several. A row without
text (null, or an empty cell) is an empty text, which the preparation leaves out and counts. Whatever is wrong with a
row is said with the number of its line.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from smallgpt.data.templates import Template
from smallgpt.errors import UserError, nearest, one_line

ROWS_AT_ONCE = 256
Row = dict[str, Any]
TextOf = str | Template
"""What of a row is its text: a field, or a template."""


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


def json_line_rows(lines: Iterable[bytes], path: Path, start: int = 0) -> Iterator[tuple[Row, Place]]:
    """Objects of JSON lines, with their places; blank lines are passed over."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = Place(path, number, start)
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            start_of_line = re.sub(r"\s+", " ", line[:30].decode("utf-8", "replace")).strip()
            raise UserError(f"data.path={place}: not JSON ({start_of_line}...); give one JSON object a line") from None
        yield as_row(row, place), place


def json_array_rows(content: bytes, path: Path) -> Iterator[tuple[Row, Place]]:
    """Objects in one JSON array, with their places."""
    try:
        rows = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"data.path={path}: a JSON array that is cut or damaged ({one_line(error)}); give it whole"
        ) from None
    for number, row in enumerate(rows, 1):
        place = Place(path, number, unit="row")
        yield as_row(row, place), place


def table_rows(
    file: BinaryIO | io.BufferedIOBase, path: Path, delimiter: str, needed: TextOf | None = None
) -> Iterator[tuple[Row, Place]]:
    """Rows of a table with a header, CSV or TSV, with their places; a quoted cell may have several lines.

    Args:
        needed: what the header must have.
    """
    csv.field_size_limit(1 << 62)  # a document may be long
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")  # ty: ignore[invalid-argument-type]
    rows = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        header = next(rows, [])
        for name in names_of(needed):
            if name not in header:
                raise unknown_field(name, header, path, key_of(needed))
        for row in rows:
            if row and len(row) != len(header):
                raise UserError(
                    f"data.path={Place(path, rows.line_num)}: {len(row)} cells, and the header has {len(header)}; "
                    "put quotes around a cell with a delimiter in it"
                )
            if row:
                yield dict(zip(header, row, strict=True)), Place(path, rows.line_num)
    except csv.Error as error:
        raise UserError(
            f"data.path={Place(path, rows.line_num)}: not CSV ({error}); a cell has a quote at both ends, or none"
        ) from None
    finally:
        text.detach()  # who opened the file closes it


def parquet_rows(file: Any, path: Path, columns: list[str] | None = None) -> Iterator[tuple[Row, Place]]:
    """Rows of an open Parquet file, with their places; of all columns, or of those named, also inside another."""
    number = 0
    for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=columns):
        for row in batch.to_pylist():
            number += 1
            yield row, Place(path, number, unit="row")


def texts_of(rows: Iterable[tuple[Row, Place]], field: TextOf) -> Iterator[str]:
    """Text of each row."""
    return (field_of(row, field, place) for row, place in rows)


def as_row(row: object, place: Place) -> Row:
    """A value of JSON as a row. Raises UserError where it is no object."""
    if not isinstance(row, dict):
        raise UserError(f"data.path={place}: {json_kind(row)}, not an object with fields; give one JSON object a row")
    return row


def names_of(field: TextOf | None) -> list[str]:
    """Fields that a text is made of."""
    return field.names if isinstance(field, Template) else [] if field is None else [field]


def key_of(field: TextOf | None) -> str:
    """Key of the config that says what a text is."""
    return field.key if isinstance(field, Template) else "data.field"


def field_of(row: Row, field: TextOf, place: Place) -> str:
    """Text of one row; raises UserError for a missing field or one that holds neither text nor null.

    In a template numbers and true or false are written as they are.
    """
    if isinstance(field, Template):
        return field.filled(lambda name: written(value_of(row, name, place, field.key), name, place, field.key))
    return as_text(value_of(row, field, place), field, place)


def value_of(row: Row, field: str, place: Place, key: str = "data.field") -> Any:
    """Value of a field, which may lie inside another one; None for null. Raises UserError where there is none."""
    value, name = row, field
    while isinstance(value, dict) and name not in value and "." in name:
        head, _, name = name.partition(".")
        value = value.get(head, {})
    if value is None:
        return None
    if not isinstance(value, dict) or name not in value:
        raise unknown_field(field, field_names(row), place, key)
    return value[name]


def written(value: object, field: str, place: Place, key: str = "data.field") -> str:
    """A value as it stands in a text: a number or true or false as JSON writes it, null as nothing."""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return as_text(value, field, place, key)


def as_text(value: object, field: str, place: Place, key: str = "data.field") -> str:
    """The value of a field as a text; null is an empty one."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(f"{key}={field}: holds {json_kind(value)}, not text, in {place}; name a field of strings")
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


def unknown_field(field: str, names: list[str], place: Place | Path, key: str = "data.field") -> UserError:
    """Error for a field that a file does not have, with those that it has."""
    asked = f"{{{field}}}" if key == "data.template" else field
    return UserError(
        f"{key}={asked}: no such field in {place}; there is {', '.join(names) or 'none'}{nearest(field, names)}"
    )
