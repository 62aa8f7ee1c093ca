"""What the code says of a setting: its type, the range of its values, and the docstring below it."""

import ast
import inspect
import textwrap
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from smallgpt.errors import shown
from smallgpt.launch.config_files import PACKAGE

RANGES = {"gt": "over", "ge": "at least", "lt": "under", "le": "at most"}
NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", dict: "keys and values"}


class Setting(NamedTuple):
    """Key of a group with what it takes and what it does."""

    key: str
    takes: str
    """Type and range in words, such as `a whole number over 0, or null`."""
    doc: str


def docstring_of(path: str) -> str:
    """Docstring of the class that a `_target_` of ours names, or of a task's module, without importing it."""
    module, _, name = path.rpartition(".")
    file = PACKAGE.parent / Path(*module.split(".")).with_suffix(".py") if path.startswith("smallgpt.") else None
    if file is None or not file.exists():
        return ""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    if module.startswith("smallgpt.tasks."):
        return ast.get_docstring(tree) or ""
    node = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    return (ast.get_docstring(node) or "") if node else ""


def settings_of(schema: Any) -> list[Setting]:
    """Settings of a class of settings, in their order."""
    docs = field_docs(schema)
    return [
        Setting(field.alias or name, takes(field.annotation, field.metadata), docs.get(name, ""))
        for name, field in schema.model_fields.items()
    ]


def settings_of_model(config_class: Any) -> list[Setting]:
    """Settings of a variant's config, in their order."""
    docs = field_docs(config_class)
    return [Setting(name, takes(hint), docs.get(name, "")) for name, hint in config_class.settable().items()]


@cache
def field_docs(owner: type) -> dict[str, str]:
    """Docstrings below the fields of a class and of those that it is derived from."""
    found: dict[str, str] = {}
    for each in reversed(owner.__mro__):
        try:
            [node] = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        except (OSError, TypeError, SyntaxError, ValueError):  # made without a source, or built in
            continue
        if isinstance(node, ast.ClassDef):
            found |= documented_fields(node)
    return found


def documented_fields(node: ast.ClassDef) -> dict[str, str]:
    """Docstrings below the fields of a class."""
    found = {}
    for above, below in zip(node.body, node.body[1:], strict=False):
        if isinstance(above, ast.AnnAssign) and isinstance(above.target, ast.Name) and (text := bare_text(below)):
            found[above.target.id] = inspect.cleandoc(text)
    return found


def bare_text(node: ast.stmt) -> str:
    """Text of a statement that is nothing else; empty for any other statement."""
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return str(node.value.value) if is_text else ""


def takes(hint: Any, metadata: Any = ()) -> str:
    """Words for a type and the range of its values."""
    if get_origin(hint) is Annotated:
        hint, *metadata = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not NoneType]
        named = " or ".join(dict.fromkeys(takes(kind, metadata) for kind in kinds))
        return f"{named}, or null" if NoneType in get_args(hint) else named
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(shown(value) for value in get_args(hint))
    if get_origin(hint) in (tuple, list):
        kinds = [kind for kind in get_args(hint) if kind is not Ellipsis]
        return f"one or several of: {takes(kinds[0])}" if kinds else "a list"
    name = NAMES.get(get_origin(hint) or hint, "a path" if hint is Path else "any value")
    limits = [limit for each in metadata for limit in getattr(each, "metadata", [each])]  # pydantic's Field has several
    ranges = [
        f"{word} {shown(getattr(each, key))}" for each in limits for key, word in RANGES.items() if hasattr(each, key)
    ]
    return " ".join([name, " and ".join(ranges)]).strip()
