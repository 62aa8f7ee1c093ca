"""Options of a launcher, checked against what its class of machines takes, before any of its jobs is prepared."""

from inspect import Parameter, signature
from typing import Annotated, Any

from pydantic import Field, create_model

from smallgpt.launch.loading import build
from smallgpt.settings import Group

Positive = Annotated[int, Field(gt=0, le=100_000)]
"""Whole number over zero, and no more than there are jobs or cores anywhere."""


def checked_options(machines: type, options: dict[str, Any]) -> dict[str, Any]:
    """The options with the types that a class of machines names; those of a library behind it are left to it.

    Raises:
        UserError: an unknown option, or a value of another type.
    """
    taken = signature(machines).parameters.values()
    named: dict[str, Any] = {
        each.name: (each.annotation, ... if each.default is Parameter.empty else each.default)
        for each in taken
        if each.kind is not Parameter.VAR_KEYWORD
    }
    others = len(named) < len(taken)
    schema: Any = create_model("Options", __base__=Group, **named)
    given = {key: value for key, value in options.items() if key in named or not others}
    built = build(schema, "hydra.launcher", given)
    return {**options, **{key: getattr(built, key) for key in given}}
