"""Targets: from a `_target_` of the config to the class or task that it names, and a variant's model from its YAML.

A config, even one that a stranger gave away, can name only what is made to be named: a task, a model, a group's class.
"""

import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from smallgpt.errors import UserError, one_line, program, shown

TASKS = "smallgpt.tasks"
_own_tasks: set[Callable[..., Any]] = set()


def task(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of a function in a package of the user's own: `task._target_` may name it.

    Such a function takes the settings and the run directory and returns sections of the result, as ours do.
    """
    _own_tasks.add(function)
    return function


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
    if module.partition(".")[0] in sys.stdlib_module_names:  # an import of some of these already does something
        raise UserError(
            f"{name}._target_={shown(path)}: is Python's own, and not made for this; see `{program()} --help`"
        )
    try:
        return getattr(import_module(module), attribute)
    except (Exception, SystemExit) as error:  # whatever a foreign module raises
        raise UserError(
            f"{name}._target_={shown(path)}: cannot be imported ({one_line(error)}); "
            "install its package, or name the folder that holds it in PYTHONPATH"
        ) from error


def imported_task(path: str) -> Callable[..., Any]:
    """Imports the task that a `_target_` names: one of smallgpt's own, or one that is marked with `task`."""
    own = path.startswith(f"{TASKS}.") and path.endswith(".run") and path.count(".") == 3
    if path.startswith("smallgpt.") and not own:
        raise UserError(f"task._target_={shown(path)}: not a task; see `{program()} --help`")
    function = imported("task", path)
    if own or (callable(function) and function in _own_tasks):
        return function
    raise UserError(
        f"task._target_={shown(path)}: not a task; the decorator smallgpt.targets.task makes a function of yours one"
    )


def imported_model(name: str, path: str) -> Any:
    """Imports the model class that a `_target_` names, smallgpt's own or a user's."""
    from smallgpt.models.configuration import DecoderConfig  # imports PyTorch

    chosen = imported(name, path)
    config = getattr(chosen, "config_class", None) if isinstance(chosen, type) else None
    if not (isinstance(config, type) and issubclass(config, DecoderConfig)):
        raise UserError(f"{name}._target_={shown(path)}: not a model; it has to be a class derived from Decoder")
    return chosen


def baseline_model(name: str, own: dict[str, Any], config: Any, given: Iterable[str]) -> tuple[Any, Any]:
    """Class of a variant and its config, at the size and block of another model.

    Args:
        name: key of the config that holds `own`.
        own: the values of the variant's YAML, which win.
        config: of the other model; keys that are `given` and known to the variant are taken from it.

    Raises ValueError where they make no model.
    """
    path, own = target(name, own)
    model_class = imported_model(name, path)
    known = model_class.config_class.settable()
    shared = {key: getattr(config, key) for key in given if key in known}
    return model_class, model_class.config_class(**{**shared, **own})
