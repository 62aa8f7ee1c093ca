"""The one kind of error a user sees as a single line, and the words it is made of."""

import re
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError


class UserError(Exception):
    """Something the user can put right; the message is one line that names key, value and fix."""

    def _render_traceback_(self) -> list[str]:
        """The line alone, which notebooks show in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class Impossible(UserError):
    """Error of values that are each in order and make no model together; a sweep leaves such a job out."""


class Unfinished(UserError):
    """Error after the main work of a task is done: `sections` of the result hold what was done, and are kept."""

    def __init__(self, message: str, sections: dict[str, Any]) -> None:
        super().__init__(message)
        self.sections = sections


def program() -> str:
    """What the user typed to start this program, for messages that say what to type next."""
    in_checkout = (Path(__file__).parents[1] / "run.py").exists()
    return "python run.py" if in_checkout and Path(sys.argv[0]).name != "smallgpt" else "smallgpt"


def nearest(word: str, options: Iterable[str]) -> str:
    """Hint `; did you mean 'x'?` at the closest option, or an empty text."""
    close = get_close_matches(word, list(options), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def nearest_key(key: str, keys: Iterable[str]) -> str:
    """Hint `; did you mean 'x'?` at the closest dotted key, or at what there is in its group.

    The same name in another group is nearer than a similar one in the same group.
    """
    group, _, name = key.rpartition(".")
    parts = {option: option.rpartition(".") for option in keys}
    same = [option for option, part in parts.items() if part[2] == name]
    beside = {part[2]: option for option, part in parts.items() if part[0] == group}
    close = same or [beside[match] for match in get_close_matches(name, beside, n=1)]
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; {group} has {', '.join(beside)}" if group and beside else f"; see {program()} --help"


def nearest_multiples(value: int, unit: int) -> str:
    """Names the multiples of `unit` below and above a value."""
    below = value // unit * unit
    return f"{below} and {below + unit}" if below else str(unit)


def nearest_divisors(value: int, whole: int) -> str:
    """Names the divisors of `whole` below and above a value."""
    divisors = [n for n in range(1, whole + 1) if whole % n == 0]
    below = max(n for n in divisors if n <= value)
    return " and ".join([str(below), *[str(n) for n in divisors if n > value][:1]])


def shown(value: Any) -> str:
    """Writes a value as one would on the command line, cut where it is long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def one_line(error: BaseException) -> str:
    """Message of any error without its line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


MUST = {  # pydantic's types of faults, in our words
    "greater_than": "be over {gt}",
    "greater_than_equal": "be at least {ge}",
    "less_than": "be under {lt}",
    "less_than_equal": "be at most {le}",
    "finite_number": "be a finite number",
    "int_from_float": "be a whole number",
    "int_type": "be a whole number",
    "int_parsing": "be a whole number",
    "int_parsing_size": "be a smaller number",
    "float_type": "be a number",
    "float_parsing": "be a number",
    "bool_type": "be true or false",
    "bool_parsing": "be true or false",
    "string_type": "be a text",
    "tuple_type": "be one value or a list",
}


def explain(error: "ValidationError", prefix: str) -> str:
    """Explains the first fault that pydantic found on one line: key, value, what would be right."""
    fault = error.errors(include_url=False)[0]
    kind, limits = fault["type"], fault.get("ctx", {})
    if kind == "value_error":  # one of ours, which names key and value itself
        return prefix + str(limits["error"])
    key, value = f"{prefix}{fault['loc'][0]}", fault["input"]
    if kind == "missing":
        return f"{key}: missing; give {key}=<value>"
    if kind == "literal_error":
        options = re.findall("'(.*?)'", limits["expected"])
        return f"{key}={shown(value)}: must be one of {', '.join(options)}{nearest(str(value), options)}"
    if kind in MUST:
        return f"{key}={shown(value)}: must {MUST[kind].format(**limits)}"
    return f"{key}={shown(value)}: {fault['msg'][:1].lower()}{fault['msg'][1:]}"
