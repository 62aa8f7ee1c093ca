"""The size at which a model costs what a baseline does, so that the two can be compared at equal cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from .configuration import DecoderConfig
from .cost import Cost, cost

HAPPY_WIDTH = 8  # hardware multiplies matrices in tiles; a width that is a multiple of this fills them
MOST_TIMES_WIDER = 16


@dataclass(frozen=True)
class Matched:
    """A config that was solved for, and how near it came."""

    config: DecoderConfig
    quantity: str
    target: float
    """Of the baseline."""
    value: float
    width_before: int
    depth_before: int

    @property
    def difference(self) -> float:
        """Relative, positive where the model costs more than the baseline."""
        return self.value / self.target - 1

    def __str__(self) -> str:
        return (
            f"n_embd {self.width_before} -> {self.config.n_embd}, n_layer {self.depth_before} -> "
            f"{self.config.n_layer}: {self.value:,.0f} {self.quantity}, {self.difference:+.2%} of {self.target:,.0f}"
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


def solve(
    config: DecoderConfig,
    baseline: DecoderConfig,
    quantity: Literal["params", "flops"],
    exclude_embeddings: bool = False,
    depth: bool = False,
    tolerance: float = 0.02,
) -> Matched:
    """`config` with the n_embd at which it costs what `baseline` does, within `tolerance`.

    Widths are multiples of n_head; among those that are near enough, multiples of 8 are preferred, then the nearest.
    With `depth` other numbers of layers are tried too, the nearest to the config's own first.

    Raises:
        ValueError: no size is near enough; the message names the nearest.
    """
    if getattr(config, "widths", None) is not None:
        raise ValueError("model.widths is a list, which no width can be solved for; give a schedule by its frequency")
    measure = measure_of(quantity, exclude_embeddings)
    target = measure(cost(baseline))
    name = {"params": "parameters", "flops": "training FLOPs a token"}[quantity]
    if exclude_embeddings and quantity == "params":
        name += " without embeddings"

    def matched(candidate: DecoderConfig) -> Matched:
        return Matched(candidate, name, target, measure(cost(candidate)), config.n_embd, config.n_layer)

    own = matched(config)
    if own.difference == 0:
        return own
    nearest: Matched | None = None
    for layers in depths(config.n_layer) if depth else [config.n_layer]:
        found = [matched(candidate) for candidate in widths(config, layers, measure, target)]
        near = [one for one in found if abs(one.difference) <= tolerance]
        if near:
            return min(near, key=lambda one: (one.config.n_embd % HAPPY_WIDTH != 0, abs(one.difference)))
        nearest = min([one for one in (nearest, *found) if one], key=lambda one: abs(one.difference), default=None)
    if nearest is None:
        raise ValueError(f"no n_embd makes a model of about {target:,.0f} {name}")
    at = f"n_embd={nearest.config.n_embd}" + (f" n_layer={nearest.config.n_layer}" if depth else "")
    other = "" if depth else ", match.depth=true tries other depths"
    raise ValueError(
        f"no n_embd comes within {tolerance:.0%} of {target:,.0f} {name}; nearest is {at} with {nearest.value:,.0f} "
        f"({nearest.difference:+.1%}), which match.tolerance={abs(nearest.difference) + 0.001:.3f} takes{other}"
    )


def measure_of(quantity: str, exclude_embeddings: bool) -> Callable[[Cost], float]:
    if quantity == "flops":
        return lambda price: price.training_flops_per_token - 3 * exclude_embeddings * price.head_flops_per_token
    if exclude_embeddings:
        return lambda price: price.parameters_without_embeddings
    return lambda price: price.parameters


def depths(layers: int) -> list[int]:
    """From 1 to twice as many, the nearest first."""
    return sorted(range(1, 2 * layers + 1), key=lambda n: (abs(n - layers), n))


def widths(
    config: DecoderConfig, layers: int, measure: Callable[[Cost], float], target: float
) -> Iterator[DecoderConfig]:
    """The possible models of this depth, the last of them a little over the target; costs rise with the width."""
    for width in range(config.n_head, MOST_TIMES_WIDER * config.n_embd, config.n_head):
        candidate = resized(config, width, layers)
        if candidate is None:
            continue
        yield candidate
        if measure(cost(candidate)) > 1.1 * target:
            return


def resized(config: DecoderConfig, width: int, layers: int) -> DecoderConfig | None:
    """The config at another width and depth; None where they make no model."""
    values = {key: getattr(config, key) for key in config.settable()}
    try:
        return type(config)(**{**values, "n_embd": width, "n_layer": layers})
    except ValueError:
        return None
