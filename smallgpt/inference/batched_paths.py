"""ParallelGPT's paths run as one batch of products, since a token of a small model waits for operations, not weights.

Letters in names: B batch, T time, P paths that run, W width of one, G parts of a map's output (query, key and value;
gate and value), K inputs and N outputs of a part of one path. The stream is (B, T, P W): each path's heads are heads of
one attention, so masks, rotations and the cache's order of sequences stay as they are.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smallgpt.models.context import Context
from smallgpt.models.layers import Block
from smallgpt.models.parallelgpt import ParallelGPTBackbone

NARROW = 192
"""Width of the stream over the number of paths under which batching pays, as measured on one CPU.

A token is made a tenth faster and more, a prompt of some hundred tokens is read up to a tenth slower, several at once
up to a quarter. Above it the weights take the time.
"""


class BatchedLinear(nn.Module):
    """One linear map of every path at once: (B, T, P K), or (B, T, K) that all paths read, to (B, T, G P N)."""

    def __init__(self, linears: Sequence[nn.Linear], parts: int = 1, shared_input: bool = False):
        super().__init__()
        self.parts, self.inputs = parts, 1 if shared_input else len(linears)
        weight_PKM = torch.stack([linear.weight.detach().t() for linear in linears])  # M = G N
        self.weight_PKM = nn.Parameter(weight_PKM, requires_grad=False)
        self.bias_P1M: nn.Parameter | None = None
        if linears[0].bias is not None:
            bias_PM = torch.stack([linear.bias.detach() for linear in linears])
            self.bias_P1M = nn.Parameter(bias_PM[:, None], requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        B, T, _ = x.shape
        P, K, M = self.weight_PKM.shape
        x_PRK = x.reshape(B * T, self.inputs, K).transpose(0, 1).expand(P, -1, -1)  # R = B T rows
        y_RPM = x.new_empty(B * T, P, M)
        y_PRM = y_RPM.transpose(0, 1)  # written in place: copies would cost a long prompt a tenth of its time
        if self.bias_P1M is None:
            torch.bmm(x_PRK, self.weight_PKM, out=y_PRM)
        else:
            torch.baddbmm(self.bias_P1M, x_PRK, self.weight_PKM, out=y_PRM)
        if self.parts > 1:
            y_RPM = y_RPM.view(B * T, P, self.parts, -1).transpose(1, 2)
        return y_RPM.reshape(B, T, P * M)


class BatchedNorm(nn.Module):
    """One norm of every path at once, each over its own part of the stream (B, T, P W)."""

    def __init__(self, norms: Sequence[nn.LayerNorm | nn.RMSNorm]):
        super().__init__()
        first = norms[0]
        self.width, self.eps, self.rms = first.normalized_shape[0], first.eps, isinstance(first, nn.RMSNorm)
        self.weight = nn.Parameter(torch.cat([norm.weight.detach() for norm in norms]), requires_grad=False)
        self.bias: nn.Parameter | None = None
        biases = [bias.detach() for norm in norms if isinstance(bias := getattr(norm, "bias", None), Tensor)]
        if biases:
            self.bias = nn.Parameter(torch.cat(biases), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        x_BTPW, size = x.unflatten(-1, (-1, self.width)), (self.width,)
        y = F.rms_norm(x_BTPW, size, eps=self.eps) if self.rms else F.layer_norm(x_BTPW, size, eps=self.eps or 0.0)
        y = y.flatten(-2).mul_(self.weight)
        return y if self.bias is None else y.add_(self.bias)


class BatchedPaths(nn.Module):
    """Backbone that takes the blocks of a `ParallelGPTBackbone` and runs its active paths as one batch."""

    def __init__(self, backbone: ParallelGPTBackbone):
        super().__init__()
        active = list(backbone.active)
        paths = [list(backbone.paths[path].children()) for path in active]
        backbone.paths = nn.ModuleList()  # so that each layer is freed when it is joined
        free = torch.cat((backbone.path_weight.detach(), backbone.path_weight.new_zeros(1)))
        self.share_P = nn.Parameter(torch.softmax(free[active], dim=0), requires_grad=False)
        inputs: Any = backbone.inputs
        self.input = BatchedLinear([inputs[path] for path in active], shared_input=True)
        self.blocks = nn.ModuleList(
            joined_block([path.pop(0) for path in paths], layer_idx) for layer_idx in range(len(paths[0]))
        )

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        x = self.input(x_BTD)
        for block in self.blocks:
            x = block(x, context)
        return self.share_P @ x.unflatten(-1, (len(self.share_P), -1))


def joined_block(blocks: Sequence[nn.Module], layer_idx: int) -> Block:
    """Joins blocks that lie side by side: the first one gets the heads and the weights of all of them."""
    block = blocks[0]
    assert isinstance(block, Block)
    block.attn.layer_idx = layer_idx
    block.attn.n_head *= len(blocks)
    join(blocks, {"c_attn": 3, "c_fc": 2 if block.mlp.activation == "swiglu" else 1})
    return block


def join(modules: Sequence[nn.Module], parts: dict[str, int]) -> None:
    """Replaces the linear maps and norms of the first module by ones that hold the weights of all modules.

    Args:
        parts: number of parts in a linear map's output, by its name; 1 where the name is missing.
    """
    for name, child in modules[0].named_children():
        same = [getattr(module, name) for module in modules]
        if isinstance(child, nn.Linear):
            setattr(modules[0], name, BatchedLinear(same, parts.get(name, 1)))
        elif isinstance(child, nn.LayerNorm | nn.RMSNorm):
            setattr(modules[0], name, BatchedNorm(same))
        else:
            join(same, parts)


def batch_paths(model: nn.Module) -> None:
    """Makes the active paths of a ParallelGPT run as one batch, where there are several and they are narrow."""
    base: Any = getattr(model, "transformer", None)
    backbone = getattr(base, "backbone", None)
    if not isinstance(backbone, ParallelGPTBackbone) or len(backbone.active) < 2:
        return
    if backbone.inputs[0].in_features < NARROW * len(backbone.active):
        base.backbone = BatchedPaths(backbone)
