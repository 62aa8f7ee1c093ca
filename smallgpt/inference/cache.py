"""Key-value caches whose memory is allocated once: what the library copies at every token is written in place."""

from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig
from transformers.cache_utils import (
    Cache,
    DynamicLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionLayer,
    StaticLayer,
)


class InPlace(DynamicLayer):
    """Cache layer with keys and values of (B, heads, capacity, head width), of which the first tokens are in use."""

    capacity: int
    _memory: tuple[Tensor, ...]

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        new = (key_states, value_states)
        if not self.is_initialized:
            DynamicLayer.lazy_initialization(self, *new)
            self._memory = tuple(some.new_empty(*some.shape[:2], self.capacity, some.shape[3]) for some in new)
        used, more = self.get_seq_length(), key_states.shape[-2]
        for place, some in zip(self._memory, new, strict=True):
            place.narrow(2, used, more).copy_(some)
        self.keys, self.values = (place.narrow(2, 0, used + more) for place in self._memory)
        return self.keys, self.values


class InPlaceHybrid(InPlace, LinearAttentionAndFullAttentionLayer):
    """In-place cache layer that also holds the state of a convolution."""

    def lazy_initialization(self, *args: Any, **kwargs: Any) -> None:
        LinearAttentionAndFullAttentionLayer.lazy_initialization(self, *args, **kwargs)


def preallocated(config: PreTrainedConfig, capacity: int) -> Cache:
    """An empty cache with room for `capacity` tokens of each sequence."""
    layers = []
    for kind in config.layer_types:
        layer = InPlaceHybrid(config.number_of_conv_states) if kind == "hybrid" else InPlace()
        layer.capacity = capacity
        layers.append(layer)
    return Cache(layers=layers)


class Fixed(StaticLayer):
    """The library's cache layer of a fixed size, which keeps its memory when it is emptied.

    A CUDA graph has the addresses in it. What is left in the memory is never seen: masks hide what is not filled again.
    """

    def reset(self) -> None:
        self.cumulative_length.zero_()
        self.is_initialized = False  # a prompt is then read as one with nothing before it

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        if self.keys is None:
            super().lazy_initialization(key_states, value_states)
        self.is_initialized = True

    def tensors(self) -> list[Tensor]:
        """All that a step changes: nothing in the layer of a path that is left out."""
        if self.keys is None or self.values is None:
            return []
        return [self.keys, self.values, self.cumulative_length]


class FixedHybrid(Fixed, LinearAttentionAndFullAttentionLayer):
    """Cache layer of a fixed size, which also holds the state of a convolution."""

    is_compileable = True

    def __init__(self, max_cache_len: int, number_of_states: int) -> None:
        Fixed.__init__(self, max_cache_len)  # first: it calls the next class's, with one state
        LinearAttentionLayer.__init__(self, number_of_states)

    def reset(self) -> None:
        LinearAttentionLayer.reset(self)
        Fixed.reset(self)

    def lazy_initialization(self, *args: Any, **kwargs: Any) -> None:
        # the library gives keys and values by place, the state of a convolution by name
        kind = LinearAttentionLayer if kwargs else Fixed
        kind.lazy_initialization(self, *args, **kwargs)

    def tensors(self) -> list[Tensor]:
        return [*Fixed.tensors(self), *[state for state in self.conv_states.values() if state is not None]]


def fixed_cache(config: PreTrainedConfig, places: int) -> Cache:
    """An empty cache whose keys and values always have the shape of a full one, so that a compiler sees one shape."""
    return Cache(
        layers=[
            FixedHybrid(places, config.number_of_conv_states) if kind == "hybrid" else Fixed(places)
            for kind in config.layer_types
        ]
    )
