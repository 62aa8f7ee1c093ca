"""A small copy of a model: the same class and mechanism, narrower, so that it can be tried out in a moment."""

from collections.abc import Iterator
from typing import Any

from smallgpt.models.configuration import DecoderConfig

VOCABULARY = 96
LONGEST = 512  # tokens of the copy's context
NARROWEST = 32  # at the beginning of the stream
NARROWEST_LATER = 4  # a norm over fewer numbers makes much of rounding


def small_copy(config: DecoderConfig) -> DecoderConfig:
    """The config with narrower and fewer heads, a small vocabulary and no dropout, and otherwise the same mechanism.

    Blocks, schedule, operators, kernels and paths stay. A width is taken if the copy's parts are those of the config:
    the same labels in the same order, each of which widens, narrows or keeps the stream as there. Where no narrower
    model is of the same kind, the copy has the config's own widths.
    """
    return next((copy for copy in narrower(config) if kind(copy) == kind(config)), resized(config))


def narrower(config: DecoderConfig) -> Iterator[DecoderConfig]:
    """Configs of smaller widths that a model can be built from, the narrowest first."""
    heads = [n for n in range(1, config.n_head + 1) if config.n_head % n == 0 and n >= min(2, config.n_head)]
    width = NARROWEST
    while width < config.n_embd:
        for n_head in heads:
            try:
                copy = resized(config, n_embd=width, n_head=n_head)
            except ValueError:
                continue
            if min(copy.output_width, *(part.out_width for part in copy.body())) >= NARROWEST_LATER:
                yield copy
        width *= 2


def resized(config: DecoderConfig, **size: int) -> DecoderConfig:
    """The config at another size. Raises ValueError where there is no such model."""
    values: dict[str, Any] = {key: getattr(config, key) for key in config.settable()} | size
    values |= {
        "vocab_size": min(VOCABULARY, config.vocab_size),
        "block_size": max(2, min(LONGEST, config.block_size)),  # two lengths tell what grows with the text
        "dropout": 0.0,
        "allow_narrow": True,
    }
    if values.get("min_width") is not None:
        values["min_width"] = None
    if values.get("widths") is not None:
        unit, share = values["n_head"], values["n_embd"] / config.n_embd
        values["widths"] = [max(unit, round(width * share / unit) * unit) for width in values["widths"]]
    return type(config)(**values)


def kind(config: DecoderConfig) -> list[tuple]:
    """What a variant is made of, whatever its width: its parts, and where the stream widens (1) or narrows (-1).

    The stream may change its width inside a part (a map) or between two (carry).
    """

    def sign(change: int) -> int:
        return (change > 0) - (change < 0)

    found, width = [], config.n_embd
    for part in config.body():
        changes = sign(part.in_width - width), sign(part.out_width - part.in_width)
        found.append((part.group, part.label, part.path, part.active, *changes))
        width = part.out_width
    return found
