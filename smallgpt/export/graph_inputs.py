"""Inputs of an ONNX graph: their names, the parts of the cache among them, and the one that may be left out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smallgpt.models.configuration import DecoderConfig

INPUTS = ("input_ids", "attention_mask", "position_ids")  # beside logits_to_keep and the cache
PAIR = ("key", "value")


@dataclass(frozen=True)
class CacheInput:
    """Input of the graph that holds a part of the cache, and comes back longer, or newer, as an output."""

    kind: str
    """Kind of what it holds: key, value or conv; conv1 is of a block's second convolution."""
    layer: int
    shape: tuple[str | int, ...]
    """Sizes of the tensor, with names for those that differ from call to call."""

    @property
    def past(self) -> str:
        """Name of the graph's input."""
        return self._named("past_key_values", "past")

    @property
    def present(self) -> str:
        """Name of the graph's output."""
        return self._named("present", "present")

    def _named(self, pair: str, other: str) -> str:
        if self.kind in PAIR:
            return f"{pair}.{self.layer}.{self.kind}"
        return f"{other}_{self.kind}.{self.layer}"

    def example(self, sizes: dict[str, int]) -> Tensor:
        """Tensor of zeros in this shape, with numbers for the named sizes."""
        return torch.zeros([sizes[size] if isinstance(size, str) else size for size in self.shape])


def cache_inputs(config: DecoderConfig) -> list[CacheInput]:
    """Cache inputs of the layers that inference runs, which come first in the cache."""
    running = sum(part.active and part.cache_elements > 0 for part in config.layout())
    shapes = config.block_shapes()[:running]
    keys_and_values = [
        CacheInput(kind, layer, ("batch", shape.n_head, "past", shape.head_width))
        for layer, shape in enumerate(shapes)
        for kind in PAIR
    ]
    states = [
        CacheInput(conv_kind(state), layer, ("batch", shapes[layer].width, config.conv_state_length))
        for layer, kind in enumerate(config.layer_types[:running])
        if kind == "hybrid"
        for state in range(config.number_of_conv_states)
    ]
    return keys_and_values + states


def conv_kind(state: int) -> str:
    """Kind of the cache input of a block's convolution, counted from 0: conv, conv1."""
    return f"conv{state or ''}"


def keep_all_by_default(model: Any) -> None:
    """Gives a graph's `logits_to_keep` the default of no tokens, which stands for all: other programs do not know it.

    An input with an initial value may be left out. The places are then 0, 1, ... T - 1, in the graph itself.
    """
    import onnx_ir as ir

    graph = model.graph
    ids, keep = (next(each for each in graph.inputs if each.name == name) for name in ("input_ids", "logits_to_keep"))

    def constant(name: str, value: Any) -> Any:
        made = ir.Value(name=name, const_value=ir.tensor(np.array(value, np.int64), name=name))
        graph.register_initializer(made)
        return made

    zero, one = constant("keep_zero", 0), constant("keep_one", 1)
    given = ir.node("Size", [keep])
    shape = ir.node("Shape", [ids], {"start": 1, "end": 2})
    time = ir.node("Squeeze", [*shape.outputs])
    none = ir.node("Equal", [*given.outputs, zero])
    number = ir.node("Where", [*none.outputs, *time.outputs, zero])
    every = ir.node("Range", [zero, *number.outputs, one])
    places = ir.node("Concat", [keep, *every.outputs], {"axis": 0})
    (kept,) = places.outputs
    kept.name, kept.dtype, kept.shape = "logits_kept", ir.DataType.INT64, ir.Shape(["kept"])
    ir.convenience.replace_all_uses_with(keep, kept)
    for node in (given, places):
        node.replace_input_with(0, keep)
    graph.insert_before(graph[0], [given, shape, time, none, number, every, places])
    keep.shape = ir.Shape(["given"])
    keep.const_value = ir.tensor(np.array([], np.int64), name=keep.name)
    graph.register_initializer(keep)
