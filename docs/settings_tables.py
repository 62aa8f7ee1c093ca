"""Tables of settings for the reference, in Markdown: what the code says of each, and its default."""

import re
from typing import Any

from pydantic_core import PydanticUndefined

from smallgpt.launch.documented import settings_of


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


def settings_table(cls: Any, prefix: str) -> str:
    """Table of the settings of a group: key, type and range, default, and what its docstring says."""
    rows = ["| key | type and range | default | |", "| --- | --- | --- | --- |"]
    for setting, field in zip(settings_of(cls), cls.model_fields.values(), strict=True):
        default = default_text(field.get_default(call_default_factory=True), in_config=not prefix)
        rows.append(table_row(f"`{prefix}{setting.key}`", setting.takes, default, setting.doc))
    return "\n".join(rows)
