"""Objectives of a search: the numbers of a result that it makes small."""

from typing import Any

from smallgpt.errors import UserError, nearest_key


def objective(metric: str, result: dict[str, Any], job: int) -> float | None:
    """Value of an objective in a result; None where it is not finite, which JSON has as null. Raises UserError."""
    value: Any = result
    for name in metric.split("."):
        if not isinstance(value, dict) or name not in value:
            near = nearest_key(metric, numbers(result))
            raise UserError(f"hydra.sweeper.metric={metric}: not in the result of job {job}{near}")
        value = value[name]
    if value is not None and not is_number(value):
        raise UserError(f"hydra.sweeper.metric={metric}: no number in the result of job {job}")
    return value


def is_number(value: Any) -> bool:
    """Whether a value is a number; a bool is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def numbers(result: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys of the numbers in a result."""
    found = []
    for key, value in result.items():
        if isinstance(value, dict):
            found += numbers(value, f"{prefix}{key}.")
        elif is_number(value):
            found.append(f"{prefix}{key}")
    return found
