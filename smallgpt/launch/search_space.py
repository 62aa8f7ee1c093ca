"""The space of a search: from the overrides of a sweep to Optuna's distributions, and back to words."""

import math
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from smallgpt.errors import UserError, one_line

ARMS = "arms"
"""Name of the choice among arms, beside those of the keys."""


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


class SearchSpace:
    """All that a search chooses: the values of the shared keys, an arm where there are several, and that arm's own.

    What belongs to one arm is chosen where that arm is, so that a key which only one variant has can be searched over.
    """

    def __init__(self, shared: Sequence[Override], arms: Sequence[Sequence[Override]]):
        self.shared = {override.get_key_element(): override for override in shared}
        self.arms = {
            " ".join(str(override.input_line) for override in arm): {each.get_key_element(): each for each in arm}
            for arm in arms
        }
        self.values = {key: distribution(word) for key, word in self.shared.items() if word.is_sweep_override()}
        if self.arms:
            self.values[ARMS] = CategoricalDistribution(list(self.arms))
        for label, arm in self.arms.items():
            own = {key: distribution(word) for key, word in arm.items() if word.is_sweep_override()}
            self.values |= {name_of(key, label): values for key, values in own.items()}

    def suggest(self, trial: Trial) -> None:
        """Has a trial choose a value of each, as far as it has not."""
        for key in self.shared:
            self.suggest_one(trial, key)
        if self.arms:
            label = self.suggest_one(trial, ARMS)
            for key in self.arms[label]:
                self.suggest_one(trial, name_of(key, label))

    def suggest_one(self, trial: Trial, name: str) -> Any:
        """Has a trial choose the value of one name; None where there is nothing to choose."""
        values = self.values.get(name)
        if isinstance(values, CategoricalDistribution):
            return trial.suggest_categorical(name, values.choices)
        if isinstance(values, IntDistribution):
            return trial.suggest_int(name, values.low, values.high, step=values.step, log=values.log)
        if isinstance(values, FloatDistribution):
            return trial.suggest_float(name, values.low, values.high, step=values.step, log=values.log)
        return None

    def words(self, params: dict[str, Any]) -> list[str]:
        """Overrides that run a trial with these values."""
        label = params.get(ARMS, "")
        own = [self.word(name_of(key, label), key, word, params) for key, word in self.arms.get(label, {}).items()]
        return own + [self.word(key, key, word, params) for key, word in self.shared.items()]

    def word(self, name: str, key: str, override: Override, params: dict[str, Any]) -> str:
        """Override that sets a key to the value that was chosen under a name, or to its only one."""
        return f"{key}={spelled(params[name], self.values[name])}" if name in self.values else str(override.input_line)

    def chosen(self, params: dict[str, Any]) -> str:
        """What a trial has chosen, as words."""
        given = {str(override.input_line) for override in self.shared.values()}
        return " ".join(word for word in self.words(params) if word not in given)

    def firsts(self) -> list[dict[str, Any]]:
        """The first value of everything, with each arm in turn."""
        values = {name: first(each) for name, each in self.values.items()}
        return [values | {ARMS: label} for label in self.arms] or [values]

    def choices(self) -> list[dict[str, Any]]:
        """The first values, with each other choice in turn that has to be composed to be known."""
        found = []
        for firsts in self.firsts():
            label = firsts.get(ARMS, "")
            names = [*self.shared, *(name_of(key, label) for key in self.arms.get(label, {}))]
            for name in names:
                values = self.values.get(name)
                others = values.choices[1:] if isinstance(values, CategoricalDistribution) else ()
                found += [firsts | {name: choice} for choice in others]
        return found

    def texts(self) -> dict[str, str]:
        """Text of everything that is searched over, by which a study recognises its own."""
        return {name: distribution_text(values) for name, values in self.values.items()}


def name_of(key: str, label: str) -> str:
    """Name under which an arm chooses a key of its own."""
    return f"{key} of {label}"
