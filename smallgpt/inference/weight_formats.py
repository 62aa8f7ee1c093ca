"""Formats of weights for inference: the layout that a processor reads fastest for one token, or fewer bits.

K inputs, N outputs of a linear map.
"""

import warnings
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from smallgpt.errors import UserError
from smallgpt.inference.batched_paths import batch_paths
from smallgpt.inference.gpu_weights import ON_GPU, quantize_on_gpu, require_torchao, storage_id, stored_bytes
from smallgpt.machine.compiler import refuse_compiling
from smallgpt.machine.device import native_precision
from smallgpt.packages import private

INT8 = 127


class Transposed(nn.Module):
    """Linear map y = x W + b with W stored as (K, N).

    For one row of x it is read in long runs, up to three times as fast as (N, K).
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight_KN = nn.Parameter(linear.weight.detach().t().contiguous(), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        y = x.contiguous() @ self.weight_KN  # of a slice, a product would be made for each sequence
        return y if self.bias is None else y + self.bias


class Blocked(nn.Module):
    """Linear map whose weights lie in the blocks that oneDNN multiplies fastest.

    Its products in bf16 read them at twice the speed.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        # no buffer: it has no storage that could be moved or saved
        self.weight_NK = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight_NK, self.bias, "none", [], "")


def bf16(linear: nn.Linear) -> nn.Module:
    """Makes the linear map that this processor reads fastest in bf16."""
    return Blocked(linear) if torch.ops.mkldnn._is_mkldnn_bf16_supported() else Transposed(linear)


class Int8Weight(nn.Module):
    """Linear map with weights in eight bits and a scale per row, and products in bf16."""

    weight_NK: Tensor
    scale_N: Tensor

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight_NK = linear.weight.detach().float()
        scale_N = (weight_NK.abs().amax(dim=1) / INT8).clamp(min=torch.finfo(torch.float32).tiny)
        self.padding = -linear.in_features % 16  # the kernel reads 16 at a time, also past the end
        rounded_NK = (weight_NK / scale_N[:, None]).round().to(torch.int8)
        self.register_buffer("weight_NK", F.pad(rounded_NK, (0, self.padding)))
        self.register_buffer("scale_N", scale_N.bfloat16())
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, self.padding)) if self.padding else x
        y = torch._weight_int8pack_mm(x.flatten(0, -2).contiguous(), self.weight_NK, self.scale_N)
        y = y.unflatten(0, x.shape[:-1])
        return y if self.bias is None else y + self.bias


class Int8Dynamic(nn.Module):
    """Linear map with weights in eight bits and a scale per row, whose inputs are rounded to eight bits as they come.

    PyTorch's own rounds all tokens of a call on one scale, so that a large one leaves the others few steps.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.map, self.bias = int8_map(linear), linear.bias

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() == x.shape[-1]:
            y = self.map(x)
        else:
            scale = x.abs().amax(dim=-1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
            y = self.map(x / scale).mul_(scale)
        return y if self.bias is None else y + self.bias


def int8_map(linear: nn.Linear) -> nn.Module:
    """Makes PyTorch's own dynamically quantized linear map, without the bias."""
    from torch.ao.nn.quantized.dynamic import Linear
    from torch.ao.quantization import per_channel_dynamic_qconfig

    plain = nn.Linear(linear.in_features, linear.out_features, bias=False)  # it takes no other class
    plain.weight = linear.weight
    plain.__dict__["qconfig"] = per_channel_dynamic_qconfig
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is to move to a package of its own
        return Linear.from_float(plain)


MAKE: dict[str, Callable[[nn.Linear], nn.Module]] = {
    "none": Transposed,
    "bf16": bf16,
    "int8_weight": Int8Weight,
    "int8_dynamic": Int8Dynamic,
}
"""Replacement of each linear map, by the value of `quantize`."""
BF16 = {"bf16", "int8_weight", "int4"}
COMPILED = {"none", "int8_weight"}
"""Values of `quantize` that the compiler sees through; the others store weights in layouts of their libraries."""
PRIVATE = {
    "bf16": (
        "ops.mkldnn._is_mkldnn_bf16_supported",
        "ops.mkldnn._reorder_linear_weight",
        "ops.mkldnn._linear_pointwise",
    ),
    "int8_weight": ("_weight_int8pack_mm",),
    "int8_dynamic": ("ao.quantization.per_channel_dynamic_qconfig", "ao.nn.quantized.dynamic.Linear._weight_bias"),
}
"""Members of torch that another release may not have, by the kind that needs them on a CPU."""


def usual_format(quantize: str, is_chosen: bool, device: torch.device) -> str:
    """Format of the weights that text is made with: bf16 on a GPU that is made for it, unless another one is chosen."""
    on_gpu = device.type == "cuda" and not is_chosen and quantize == "none"
    return native_precision(device).replace("fp32", "none") if on_gpu else quantize


def for_inference(model: PreTrainedModel, quantize: str = "none", compiled: bool = False) -> PreTrainedModel:
    """Prepares a model for inference and returns the same object; it can no longer be trained or saved.

    Args:
        compiled: whether it will be compiled; the compiler joins operations itself.

    Raises:
        UserError: a kind that PyTorch does not run here.
    """
    check_quantize(quantize, model.device, compiled)
    model = model.eval()
    if quantize in BF16:
        model = model.to(torch.bfloat16)
    if model.device.type != "cpu":
        if quantize in ON_GPU:
            quantize_on_gpu(model, quantize)
        return model
    # packed products in bf16 are faster one by one
    if quantize == "none" and model.dtype == torch.float32 and not compiled:
        batch_paths(model)
    replace_parts(model, MAKE[quantize])
    return model


def replace_parts(module: nn.Module, make: Callable[[nn.Linear], nn.Module]) -> None:
    """Replaces a module's linear maps one by one, and removes its dropout.

    No more than one matrix is in memory twice. Dropout costs time even when it is off.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, make(child))
        elif isinstance(child, nn.Dropout):
            setattr(module, name, nn.Identity())
        else:
            replace_parts(child, make)


def check_quantize(quantize: str, device: torch.device, compiled: bool = False) -> None:
    """Raises UserError for a value of `quantize` that PyTorch does not run on the device, or not compiled."""
    on_gpu = device.type != "cpu" and quantize in ON_GPU
    if on_gpu:
        require_torchao(quantize)
    elif quantize not in MAKE:
        raise UserError(f"quantize={quantize}: only for task=export format=onnx; here use one of {', '.join(MAKE)}")
    elif quantize.startswith("int8") and device.type != "cpu":
        other = "quantize=bf16 or int8_weight"
        raise UserError(f"quantize={quantize}: runs on a CPU; use trainer.accelerator=cpu, or {other}")
    if compiled and device.type == "cpu" and quantize not in COMPILED:
        raise UserError(f"compile=true: needs quantize={' or '.join(sorted(COMPILED))} on a CPU, not {quantize}")
    if compiled:
        refuse_compiling(device)
    if device.type == "cpu":
        with private("torch"):
            for member in PRIVATE.get(quantize, ()):
                attrgetter(member)(torch)


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all weights, also those that are packed away in modules of torch.ao; what is shared counts once."""
    seen: dict[int, int] = {}
    for module in model.modules():
        seen |= own_bytes(module)
    return sum(seen.values())


def own_bytes(module: nn.Module) -> dict[int, int]:
    """Bytes of each of a module's own weights, without its submodules', by an id that a shared weight has once."""
    tensors = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    found = {storage_id(tensor): stored_bytes(tensor) for tensor in tensors}
    if isinstance(module, Blocked):
        found[id(module)] = module.weight_NK.numel() * module.weight_NK.element_size()
    if is_packed(module):
        packed: Any = module
        weight, bias = packed._weight_bias()
        found[id(module)] = weight.numel() * weight.element_size() + weight.shape[0] * 4
        found[id(module)] += 0 if bias is None else bias.numel() * bias.element_size()
    return found


def is_packed(module: nn.Module) -> bool:
    """Whether a module is a linear map of torch.ao, which keeps its weights in a module inside."""
    return isinstance(getattr(module, "_packed_params", None), nn.Module)
