"""Types of a config's fields, held against values that a file may give: a config.json can say anything.

It imports nothing but Python's own, since it goes along with an exported model.
"""

from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

BE_NULL = "be null"
KINDS = {bool: (bool, "be true or false"), int: (int, "be a whole number"), float: (int | float, "be a number")}


def type_fault(value: Any, hint: Any) -> str | None:
    """What a value must be by the type of its field; None where it is that, or the type is none of those used here."""
    origin, options = get_origin(hint), get_args(hint)
    if origin is Literal:
        return None if value in options else f"be one of {', '.join(map(str, options))}"
    if origin in (Union, UnionType):
        faults = [type_fault(value, option) for option in options]
        return None if None in faults else next(each for each in faults if each != BE_NULL)
    if hint is NoneType:
        return None if value is None else BE_NULL
    if origin is list:
        right = isinstance(value, list | tuple) and all(type_fault(each, options[0]) is None for each in value)
        return None if right else "be a list of such values"
    if hint not in KINDS:
        return None
    accepted, must = KINDS[hint]
    return None if isinstance(value, accepted) and isinstance(value, bool) == (hint is bool) else must
