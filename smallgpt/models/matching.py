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
    width_before: int
    depth_before: int

    @property
    def difference(self) -> float:
        """Relative difference to the target, positive where the model costs more than the baseline."""
        return self.value / self.target - 1

    def __str__(self) -> str:
        return (
            f"n_embd {self.width_before} -> {self.config.n_embd}, n_layer {self.depth_before} -> "
            f"{self.config.n_layer}: {amount(self.value, self.quantity)}, {self.difference:+.2%} of "
            f"{amount(self.target, self.quantity)}"
        )

    def to_dict(self) -> dict:
        return {
            "quantity": self.quantity,
            "target": self.target,
            "value": self.value,
            "difference": self.difference,
            "n_embd": self.config.n_embd,
            "n_layer": self.config.n_layer,
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
    tried too, the nearest to the config's own first.

    Raises:
        ValueError: no size is near enough; the message names the nearest.
    """

    def matched(candidate: DecoderConfig) -> Matched:
        value, target = quantity.of(candidate)
        return Matched(candidate, quantity.name, target, value, config.n_embd, config.n_layer)

    own = matched(config)
    if own.difference == 0:
        return own
    nearest: Matched | None = None
    for layers in depths(config.n_layer) if depth else [config.n_layer]:
        candidates = widths(config, layers)
        if quantity.measured:
            found = bisect_twice(list(candidates), matched, config.n_embd, tolerance)
        else:
            found = scan(candidates, matched)
        if enough := near(found, tolerance):
            return min(enough, key=lambda one: (one.config.n_embd % HAPPY_WIDTH != 0, abs(one.difference)))
        nearest = min([one for one in (nearest, *found) if one], key=lambda one: abs(one.difference), default=None)
    if nearest is None:
        raise ValueError(f"no n_embd makes a model of about {amount(own.target, quantity.name)}")
    at = f"n_embd={nearest.config.n_embd}" + (f" n_layer={nearest.config.n_layer}" if depth else "")
    other = "" if depth else "; match.depth=true tries other depths"
    raise ValueError(
        f"no n_embd comes within {tolerance:.0%} of {amount(nearest.target, quantity.name)}; nearest is {at} with "
        f"{amount(nearest.value, quantity.name)} ({nearest.difference:+.1%}), which "
        f"match.tolerance={abs(nearest.difference) + 0.001:.3f} accepts{other}"
    )


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
    values: dict[str, Any] = {key: getattr(config, key) for key in config.settable()}
    values |= {"n_embd": width, "n_layer": layers}
    if values.get("widths") is not None:
        values["widths"] = scaled_widths(config, values["widths"], width)
    try:
        return type(config)(**values)
    except ValueError:
        return None


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
