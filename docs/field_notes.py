"""What stands in the source below the fields of a class: one entry of the reference for each field."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic_core import PydanticUndefined

LIMITS = {"gt": "> {}", "ge": "≥ {}", "lt": "< {}", "le": "≤ {}"}


@cache
def field_notes(cls: type) -> dict[str, str]:
    """Docstrings below the fields of a class and of its bases, by the field's name."""
    notes: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not base.__module__.startswith("smallgpt"):
            continue
        try:
            (node,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError, ValueError):  # made by a function
            continue
        assert isinstance(node, ast.ClassDef)
        for above, below in zip(node.body, node.body[1:], strict=False):
            if isinstance(above, ast.AnnAssign) and isinstance(above.target, ast.Name) and isinstance(below, ast.Expr):
                text = below.value.value if isinstance(below.value, ast.Constant) else None
                if isinstance(text, str):
                    notes[above.target.id] = " ".join(text.split())
    return notes


def type_text(hint: Any) -> str:
    """A type as one reads it: `number or null`, `hf, onnx`, `list of texts`."""
    if hint is type(None):
        return "null"
    names = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path", Any: "anything"}
    if hint in names:
        return names[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if hasattr(hint, "__metadata__"):  # Annotated
        return type_text(inner[0])
    if origin in (tuple, list):
        several = dict.fromkeys(type_text(each) for each in inner if each is not Ellipsis)
        return f"list of: {', '.join(several)}"
    if origin is dict:
        return "values by key"
    if inner:
        return " or ".join(dict.fromkeys(type_text(each) for each in inner))
    return getattr(hint, "__name__", str(hint))


def limits_text(metadata: Iterable[Any]) -> str:
    """Range of a number, such as `> 0, ≤ 1`."""
    found = [
        LIMITS[name].format(f"{value:,}" if isinstance(value, int) else f"{value:g}")
        for name in LIMITS
        for each in metadata
        if (value := getattr(each, name, None)) is not None
    ]
    return ", ".join(found)


def default_text(value: Any, in_config: bool = False) -> str:
    """Default as the command line writes it; `in_config`: conf/config.yaml has one where the class has none."""
    if value is PydanticUndefined:
        return "by conf/config.yaml" if in_config else "none: must be given"
    if value is None or isinstance(value, bool):
        return {None: "`null`", True: "`true`", False: "`false`"}[value]
    if isinstance(value, tuple | list):
        return f"`[{','.join('null' if each is None else str(each) for each in value)}]`" if value else "`null`"
    if isinstance(value, dict):
        return "" if not value else f"`{value}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`".replace("\n", "\\n")


def in_cell(text: str) -> str:
    """Text that may stand in the cell of a table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def table_row(*cells: str) -> str:
    """Row of a table in Markdown."""
    return f"| {' | '.join(map(in_cell, cells))} |"


def settings_table(cls: type, prefix: str) -> str:
    """Table of the settings of a group: key, type and range, default, and what its docstring says."""
    notes, hints = field_notes(cls), get_type_hints(cls, include_extras=True)
    rows = ["| key | type and range | default | |", "| --- | --- | --- | --- |"]
    for name, field in cls.model_fields.items():  # type: ignore[attr-defined]
        key = f"{prefix}{field.alias or name}"
        kind = ", ".join(filter(None, [type_text(hints[name]), limits_text(field.metadata)]))
        default = default_text(field.get_default(call_default_factory=True), in_config=not prefix)
        rows.append(
            "| " + " | ".join(in_cell(each) for each in (f"`{key}`", kind, default, notes.get(name, ""))) + " |"
        )
    return "\n".join(rows)
