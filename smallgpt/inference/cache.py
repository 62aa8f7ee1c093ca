"""A cache whose memory is taken once: what `generate` would copy at every token is written in place."""

from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig
from transformers.cache_utils import Cache, DynamicLayer, LinearAttentionAndFullAttentionLayer


class InPlace(DynamicLayer):
    """Keys and values of a layer, (B, heads, capacity, head width), of which the first are in use."""

    capacity: int
    _memory: tuple[Tensor, ...] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            DynamicLayer.lazy_initialization(self, key_states, value_states)
        used = self.get_seq_length()
        need = used + key_states.shape[-2]
        memory = self._memory
        if memory is None or not self._still_holds(memory[0], key_states.shape[0], used, need):
            room = max(need, self.capacity)
            memory = tuple(new.new_empty(*new.shape[:2], room, new.shape[3]) for new in (key_states, value_states))
            for place, old in zip(memory, (self.keys, self.values), strict=True):
                if used and old is not None:
                    place[:, :, :used] = old
            self._memory = memory
        for place, new in zip(memory, (key_states, value_states), strict=True):
            place[:, :, used:need] = new
        self.keys, self.values = (place[:, :, :need] for place in memory)
        return self.keys, self.values

    def _still_holds(self, memory: Tensor, batch: int, used: int, need: int) -> bool:
        """Whether the keys still lie there (a beam search puts others in their place) and there is room for more."""
        same = not used or (self.keys is not None and self.keys.data_ptr() == memory.data_ptr())
        return same and memory.shape[0] == batch and memory.shape[2] >= need


class InPlaceHybrid(InPlace, LinearAttentionAndFullAttentionLayer):
    """The same beside the state of a convolution."""

    def lazy_initialization(self, *args, **kwargs) -> None:
        LinearAttentionAndFullAttentionLayer.lazy_initialization(self, *args, **kwargs)


def preallocated(config: PreTrainedConfig, capacity: int) -> Cache:
    """An empty cache with room for `capacity` tokens of each sequence."""
    layers = []
    for kind in config.layer_types:
        layer = InPlaceHybrid() if kind == "hybrid" else InPlace()
        layer.capacity = capacity
        layers.append(layer)
    return Cache(layers=layers)
