"""The space of a search: from the overrides of a sweep to Optuna's distributions, and back to words."""

import math
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from smallgpt.errors import UserError, one_line


def distribution(override: Override) -> BaseDistribution:
    """Optuna distribution that an override asks for; choices stay as they are written. Raises UserError."""
    word, values = override.input_line, override.value()
    tags = getattr(values, "tags", set())
    if tags - {"log"}:
        raise UserError(f"{word}: tag {min(tags - {'log'})} is unknown to a search; there is log")
    if isinstance(values, ChoiceSweep | RangeSweep):
        values.shuffle = False  # a search takes them in an order of its own
    log = "log" in tags
    try:
        if isinstance(values, IntervalSweep):
            low, high = values.start, values.end
            assert low is not None and high is not None
            if not (math.isfinite(low) and math.isfinite(high)):
                raise ValueError("must have two finite ends")
            if isinstance(low, int) and isinstance(high, int):
                return IntDistribution(low, high, log)
            return FloatDistribution(low, high, log)
        if isinstance(values, RangeSweep):
            steps = sorted(values.range())
            if not steps:
                raise ValueError("holds no value")
            if isinstance(steps[0], int):
                return IntDistribution(steps[0], steps[-1], log, abs(int(values.step)))
            low, high, step = (float(f"{number:.12g}") for number in (steps[0], steps[-1], abs(values.step)))
            return FloatDistribution(low, high, log, step)
        choices = list(dict.fromkeys(override.sweep_string_iterator()))
        if not choices:
            raise ValueError("holds no value")
        return CategoricalDistribution(choices)
    except ValueError as error:
        raise UserError(f"{word}: {one_line(error)}") from None


def first(values: BaseDistribution) -> Any:
    """First value of a distribution: its first choice, or its lower end."""
    return values.choices[0] if isinstance(values, CategoricalDistribution) else values.low  # ty: ignore


def distribution_text(values: BaseDistribution) -> str:
    """Text of a distribution, by which a study recognises its own and messages show it."""
    if isinstance(values, CategoricalDistribution):
        return ",".join(map(str, values.choices))
    assert isinstance(values, FloatDistribution | IntDistribution)
    kind = "whole " if isinstance(values, IntDistribution) else ""
    step = f" by {values.step}" if values.step not in (None, 1) else ""
    return f"{kind}{values.low} to {values.high}{step}{' (log)' if values.log else ''}"


def spelled(value: Any, values: BaseDistribution) -> str:
    """Spelling of a value on the command line; six digits are enough of one that lies anywhere in an interval."""
    if not isinstance(values, FloatDistribution):
        return str(value)
    return f"{value:.{12 if values.step else 6}g}"
