"""Comments of the YAML files, which say of each choice and key what it is for; `--help` shows them."""

import re
from importlib.resources.abc import Traversable
from typing import NamedTuple

LINE = re.compile(r"^(?P<indent> *)(?P<item>- )?(?P<key>[\w./ ]+):(?: +(?P<value>[^#\s].*?))?(?: +# (?P<comment>.*))?$")


class YamlLine(NamedTuple):
    """Key of a YAML file with its value as it is written and the comment behind it."""

    depth: int
    key: str
    value: str
    comment: str


def head_comment(file: Traversable) -> str:
    """What the comment at the top of a file says; empty where it has none."""
    said: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            said.append(line.removeprefix("#").strip())
    return " ".join(said)


def body(file: Traversable) -> str:
    """The lines of a file below the comment at its top."""
    lines = file.read_text(encoding="utf-8").splitlines()
    while lines and lines[0].startswith("#"):
        lines.pop(0)
    return "\n".join(lines)


def yaml_lines(file: Traversable) -> list[YamlLine]:
    """Every key of a file in its order; the entries of a list under `defaults` are keys too."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if (read := LINE.match(line)) is not None:
            key = read["key"].removeprefix("override ").removeprefix("/")
            found.append(YamlLine(len(read["indent"]), key, read["value"] or "", read["comment"] or ""))
    return found
