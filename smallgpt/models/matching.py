"""Matching: the size at which a model costs what a baseline does, so that the two can be compared at equal cost."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .configuration import DecoderConfig
from .cost import Cost, cost

HAPPY_WIDTH = 8  # hardware multiplies matrices in tiles; a width that is a multiple of this fills them
MOST_TIMES_WIDER = 16
FINEST = 64  # an MLP is made wider or narrower in steps of one part in so many
MOST_STEPS = 16  # a quarter of its width
LATENCY = "seconds a token"


@dataclass(frozen=True)
class Quantity:
    """A cost that a model and its baseline are to have in equal measure."""

    name: str
    of: Callable[[DecoderConfig], tuple[float, float]]
    """Function from a model's config to its cost and the baseline's."""
    measured: bool = False
    """Whether it takes time to measure, so that few sizes are tried."""


@dataclass(frozen=True)
class Matched:
    """Config that was solved for, and how near its cost comes to the baseline's."""

    config: DecoderConfig
    quantity: str
    target: float
    """Cost of the baseline."""
    value: float
    """Cost of this config."""
    before: DecoderConfig
    """Config at the size of the sweep."""

    @property
    def difference(self) -> float:
        """Relative difference to the target, positive where the model costs more than the baseline."""
        return self.value / self.target - 1

    def __str__(self) -> str:
        mlp = f", mlp_ratio {self.before.mlp_ratio:g} -> {self.mlp_ratio:g}" if self.mlp_ratio else ""
        return (
            f"n_embd {self.before.n_embd} -> {self.config.n_embd}, n_layer {self.before.n_layer} -> "
            f"{self.config.n_layer}{mlp}: {amount(self.value, self.quantity)}, {self.difference:+.2%} of "
            f"{amount(self.target, self.quantity)}"
        )

    @property
    def mlp_ratio(self) -> float | None:
        """Width of the MLPs over the blocks' where that was solved for too, else None."""
        return None if self.config.mlp_ratio == self.before.mlp_ratio else self.config.mlp_ratio

    def to_dict(self) -> dict:
        return {
            "quantity": self.quantity,
            "target": self.target,
            "value": self.value,
            "difference": self.difference,
            "n_embd": self.config.n_embd,
            "n_layer": self.config.n_layer,
            "mlp_ratio": self.mlp_ratio,
        }


def amount(value: float, quantity: str) -> str:
    """Writes a cost with its unit, such as `4.1 ms a token`."""
    return f"{1000 * value:.3g} ms a token" if quantity == LATENCY else f"{value:,.0f} {quantity}"


def closed_form(
    baseline: DecoderConfig, quantity: Literal["params", "flops"], exclude_embeddings: bool = False
) -> Quantity:
    """Quantity that configs alone tell: parameters, or training FLOPs."""
    measure = measure_of(quantity, exclude_embeddings)
    target = measure(cost(baseline))
    name = {"params": "parameters", "flops": "training FLOPs a token"}[quantity]
    if exclude_embeddings and quantity == "params":
        name += " without embeddings"
    return Quantity(name, lambda config: (measure(cost(config)), target))


def measure_of(quantity: str, exclude_embeddings: bool) -> Callable[[Cost], float]:
    """Function that reads parameters or training FLOPs from a cost card."""
    if quantity == "flops":
        return lambda price: price.training_flops_per_token - 3 * exclude_embeddings * price.head_flops_per_token
    if exclude_embeddings:
        return lambda price: price.parameters_without_embeddings
    return lambda price: price.parameters


def solve(config: DecoderConfig, quantity: Quantity, depth: bool = False, tolerance: float = 0.02) -> Matched:
    """Solves for the n_embd at which `config` costs what the baseline does, within `tolerance`.

    Widths are multiples of n_head; among those that are near enough, multiples of 8 are preferred, then the nearest.
    Where the cost has to be measured, the first that is near enough is taken. With `depth` other numbers of layers are
    tried too, the nearest to the config's own first. Where none of these is near enough, the MLPs of the nearest are
    made up to a quarter wider or narrower.

    Raises:
        ValueError: no size is near enough; the message names the nearest.
    """

    def matched(candidate: DecoderConfig) -> Matched:
        value, target = quantity.of(candidate)
        return Matched(candidate, quantity.name, target, value, config)

    own = matched(config)
    if own.difference == 0:
        return own
    every: list[Matched] = []
    for layers in depths(config.n_layer) if depth else [config.n_layer]:
        candidates = widths(config, layers)
        if quantity.measured:
            found = bisect_twice(list(candidates), matched, config.n_embd, tolerance)
        else:
            found = scan(candidates, matched)
        if enough := near(found, tolerance):
            return min(enough, key=lambda one: (one.config.n_embd % HAPPY_WIDTH != 0, abs(one.difference)))
        every += found
    if not quantity.measured and (enough := near(other_mlps(every, matched), tolerance)):
        return min(enough, key=lambda one: abs(one.difference))
    if not every:
        raise ValueError(f"no n_embd makes a model of about {amount(own.target, quantity.name)}")
    nearest = min(every, key=lambda one: abs(one.difference))
    at = f"n_embd={nearest.config.n_embd}" + (f" n_layer={nearest.config.n_layer}" if depth else "")
    other = "" if depth else "; match.depth=true tries other depths"
    raise ValueError(
        f"no n_embd comes within {tolerance:.0%} of {amount(nearest.target, quantity.name)}; nearest is {at} with "
        f"{amount(nearest.value, quantity.name)} ({nearest.difference:+.1%}), which "
        f"match.tolerance={abs(nearest.difference) + 0.001:.3f} accepts{other}"
    )


def other_mlps(found: Sequence[Matched], matched: Callable[[DecoderConfig], Matched]) -> list[Matched]:
    """The nearest of the sizes found on either side of the target, with MLPs up to a quarter wider or narrower."""
    below = [one for one in found if one.difference < 0]
    above = [one for one in found if one.difference > 0]
    tried = []
    for sign, side in ((1, below), (-1, above)):
        for one in sorted(side, key=lambda one: abs(one.difference))[:1]:
            ratios = [one.config.mlp_ratio * (1 + sign * step / FINEST) for step in range(1, MOST_STEPS + 1)]
            tried += [matched(same_but(one.config, mlp_ratio=ratio)) for ratio in ratios]
    return tried


def depths(layers: int) -> list[int]:
    """Numbers of layers from 1 to twice as many as given, the nearest first."""
    return sorted(range(1, 2 * layers + 1), key=lambda n: (abs(n - layers), n))


def widths(config: DecoderConfig, layers: int) -> Iterator[DecoderConfig]:
    """Every model of this depth that can be built, the narrowest first."""
    for width in range(config.n_head, MOST_TIMES_WIDER * config.n_embd, config.n_head):
        if (candidate := resized(config, width, layers)) is not None:
            yield candidate


def resized(config: DecoderConfig, width: int, layers: int) -> DecoderConfig | None:
    """The config at another width and depth, a list of widths scaled with it; None where they make no model."""
    changes: dict[str, Any] = {"n_embd": width, "n_layer": layers}
    if (listed := getattr(config, "widths", None)) is not None:
        changes["widths"] = scaled_widths(config, listed, width)
    try:
        return same_but(config, **changes)
    except ValueError:
        return None


def same_but(config: DecoderConfig, **changes: Any) -> DecoderConfig:
    """The config with other values. Raises ValueError where they make no model."""
    return type(config)(**{key: getattr(config, key) for key in config.settable()} | changes)


def scaled_widths(config: DecoderConfig, widths: Sequence[int], width: int) -> list[int]:
    """A list of widths at another n_embd: each rounded to what its heads divide, equal ones to the same."""
    of_blocks = set(widths[: config.n_layer])
    unit = config.n_head if config.head_policy == "count" else max(1, width // config.n_head)

    def scaled(before: int) -> int:
        step = unit if before in of_blocks else 1  # what the output head alone reads has no heads
        return max(step, step * round(before * width / config.n_embd / step))

    return [scaled(each) for each in widths]


def scan(candidates: Iterable[DecoderConfig], matched: Callable[[DecoderConfig], Matched]) -> list[Matched]:
    """Tries all candidates up to one that costs well over the target.

    Costs rise with the width, if not at every step.
    """
    found: list[Matched] = []
    for candidate in candidates:
        found.append(matched(candidate))
        if found[-1].difference > 0.1:
            break
    return found


def bisect_twice(
    candidates: Sequence[DecoderConfig], matched: Callable[[DecoderConfig], Matched], first: int, tolerance: float
) -> list[Matched]:
    """Searches multiples of 8, then what lies between the two that enclose the target; returns all that were tried."""
    found = bisect([one for one in candidates if one.n_embd % HAPPY_WIDTH == 0], matched, first, tolerance)
    if near(found, tolerance):
        return found
    low = max((one.config.n_embd for one in found if one.difference < 0), default=0)
    high = min((one.config.n_embd for one in found if one.difference > 0), default=float("inf"))
    return found + bisect([one for one in candidates if low < one.n_embd < high], matched, first, tolerance)


def bisect(
    candidates: Sequence[DecoderConfig], matched: Callable[[DecoderConfig], Matched], first: int, tolerance: float
) -> list[Matched]:
    """Searches from the width `first` on until a candidate is near enough; returns all that were tried.

    Costs rise with the width. Nothing is tried that is over twice as wide as what costs too little: a model that is
    measured needs memory.
    """
    found: list[Matched] = []
    low, high = -1, len(candidates)  # the last that costs too little, the first that costs too much
    at = min(bisect_left([candidate.n_embd for candidate in candidates], first), high - 1)
    while high - low > 1 and not near(found, tolerance):
        found.append(one := matched(candidates[at]))
        low, high = (at, high) if one.difference < 0 else (low, at)
        at = (low + high) // 2 if high < len(candidates) else min(2 * at + 1, high - 1)
    return found


def near(found: Sequence[Matched], tolerance: float) -> list[Matched]:
    """Those of the sizes found that lie within the tolerance."""
    return [one for one in found if abs(one.difference) <= tolerance]
