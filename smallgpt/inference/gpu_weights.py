"""Weights in eight or four bits on a GPU, by torchao; products stay in bf16.

Not tried on a GPU yet: what torchao makes on a CPU is tested, where it is installed.
"""

from importlib import import_module
from typing import Any

from torch import Tensor, nn

from smallgpt.packages import require

ON_GPU = ("int8_weight", "int4")
"""Values of `quantize` that torchao has kernels for."""
GROUPS = (128, 64, 32)
"""Numbers of weights that may share a scale in four bits; a map whose inputs none of them divides stays in bf16."""


def require_torchao(quantize: str) -> None:
    """Raises UserError where torchao is not installed."""
    require(f"quantize={quantize}", "torchao", instead="quantize=bf16")


def quantize_on_gpu(model: nn.Module, quantize: str) -> None:
    """Puts the weights of a model's linear maps into eight or four bits, in place; the model is in bf16."""
    torchao = import_module("torchao.quantization")
    quantize_: Any = torchao.quantize_

    if quantize == "int8_weight":
        quantize_(model, torchao.Int8WeightOnlyConfig())
        return
    for group in GROUPS:

        def takes(module: nn.Module, _: str, group: int = group) -> bool:
            return isinstance(module, nn.Linear) and group == group_of(module.in_features)

        # the format of PyTorch's own kernel; torchao's default needs a further library
        config = torchao.Int4WeightOnlyConfig(group_size=group, int4_packing_format="tile_packed_to_4d")
        quantize_(model, config, takes)


def group_of(inputs: int) -> int | None:
    """Largest number of weights with a common scale that divides a map's inputs."""
    return next((group for group in GROUPS if inputs % group == 0), None)


def storage_id(tensor: Tensor) -> int:
    """Number that tensors of the same storage share; torchao's have none of their own."""
    return id(tensor) if hasattr(tensor, "__tensor_flatten__") else tensor.data_ptr()


def stored_bytes(tensor: Tensor) -> int:
    """Bytes of a tensor as it is stored: of torchao's those of what they are made of."""
    made: Any = tensor
    if not hasattr(made, "__tensor_flatten__"):
        return tensor.numel() * tensor.element_size()
    return sum(stored_bytes(getattr(made, name)) for name in made.__tensor_flatten__()[0])
