"""Targets: from a `_target_` of the config to the class that it names, and a variant's own model from its YAML."""

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from smallgpt.errors import UserError, one_line, program, shown


def target(name: str, values: Any) -> tuple[str, dict[str, Any]]:
    """Splits a chosen group into its `_target_` and its other values."""
    if values is None or (isinstance(values, dict) and "_target_" not in values):
        raise UserError(f"{name}: nothing is chosen; give {name}=<choice>, see `{program()} --help`")
    if not isinstance(values, dict):
        raise UserError(f"{name}={shown(values)}: not one of the choices; see `{program()} --help`")
    return str(values["_target_"]), {key: value for key, value in values.items() if key != "_target_"}


def imported(name: str, path: str) -> Any:
    """Imports what a `_target_` names. Raises UserError where that is not possible."""
    module, _, attribute = path.rpartition(".")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"{name}._target_={path}: cannot be imported ({one_line(error)}); "
            "install its package, or name the folder that holds it in PYTHONPATH"
        ) from error


def baseline_model(name: str, own: dict[str, Any], config: Any, given: Iterable[str]) -> tuple[Any, Any]:
    """Class of a variant and its config, at the size and block of another model.

    Args:
        name: key of the config that holds `own`.
        own: the values of the variant's YAML, which win.
        config: of the other model; keys that are `given` and known to the variant are taken from it.

    Raises ValueError where they make no model.
    """
    path, own = target(name, own)
    model_class = imported(name, path)
    known = model_class.config_class.settable()
    shared = {key: getattr(config, key) for key in given if key in known}
    return model_class, model_class.config_class(**{**shared, **own})
