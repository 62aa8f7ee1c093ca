"""Cross-entropy of a linear head, without the whole logits in memory where that pays.

The logits of N positions over V tokens cost about 2.7 times their own size while training, and they are the largest
tensor of a small model. `linear_cross_entropy` makes them a chunk of rows at a time and takes the chunk's gradients at
once, so that neither the logits nor their gradient is ever kept (the idea of cut cross-entropy, arXiv 2411.09009).

N positions, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100
CHUNKED_FROM = 2**25  # logits; fewer (134 MB in fp32) are faster whole
CHUNK_ON_GPU = 2**27  # logits: each chunk begins a dozen kernels, which this many (0.5 GB in fp32) keep busy

ChunkLoss = Callable[..., tuple[Tensor, Tensor | None]]
"""Function of the logits of some rows, of what else the loss reads of these rows, and of whether a gradient is wanted.

It returns the sum of the losses, and its gradient with respect to the logits.
"""


def rows_per_chunk(width: int, vocabulary: int, device: str = "cpu") -> int:
    """Number of rows of logits made at a time.

    Each chunk passes once over the weight's gradient, so a wide head wants more rows.
    """
    if device == "cuda":
        return max(256, CHUNK_ON_GPU // vocabulary)
    return min(256, max(128, width))


def chunk_loss(logits_nV: Tensor, target_n: Tensor, with_gradient: bool) -> tuple[Tensor, Tensor | None]:
    """Sum of the losses of some rows, and its gradient with respect to their logits, in the type of the logits."""
    dtype, V = logits_nV.dtype, logits_nV.shape[1]
    scored_n1 = (target_n != IGNORED).unsqueeze(1)
    target_n1 = target_n.clamp(min=0).unsqueeze(1)
    logp_nV = torch.log_softmax(logits_nV, -1, dtype=torch.float32)
    del logits_nV  # the caller keeps none: their memory is free
    total = -(logp_nV.gather(1, target_n1) * scored_n1).sum()
    if not with_gradient:
        return total, None
    grad_nV = logp_nV.exp_()  # softmax - onehot(target), made in place
    if torch.compiler.is_compiling():  # it joins a comparison with what is around it, and a scatter with nothing
        grad_nV = grad_nV - (torch.arange(V, device=target_n.device) == target_n1).float()
    else:
        grad_nV.scatter_add_(1, target_n1, grad_nV.new_full(target_n1.shape, -1.0))
    return total, grad_nV.mul_(scored_n1).to(dtype)


def linear_cross_entropy(
    x_ND: Tensor, weight_VD: Tensor, target_N: Tensor, reduction: str = "mean", chunk_loss: ChunkLoss = chunk_loss
) -> Tensor:
    """Mean or sum of -log p(target) over the positions whose target is not -100, as a float32 scalar.

    Args:
        chunk_loss: the function of that name, or what a compiler has made of it.
    """
    if x_ND.shape[0] * weight_VD.shape[0] < CHUNKED_FROM:
        logits_NV = F.linear(x_ND, weight_VD).float()
        total = F.cross_entropy(logits_NV, target_N, ignore_index=IGNORED, reduction="sum")
    else:
        total = ChunkedLoss.apply(x_ND, weight_VD, chunk_loss, target_N)
    if reduction == "sum":
        return total
    return total / (target_N != IGNORED).sum().clamp(min=1)


class ChunkedLoss(torch.autograd.Function):
    """Sum of the losses of a linear head, whose logits are made a chunk of rows at a time, or whole where they are few.

    The gradients are made in the forward pass and scaled in the backward pass.
    """

    @staticmethod
    def forward(ctx, x_ND: Tensor, weight_VD: Tensor, chunk_loss: ChunkLoss, *of_rows: Tensor) -> Tensor:
        device, (N, D), V = x_ND.device.type, x_ND.shape, weight_VD.shape[0]
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x_ND.dtype
        needs_x, needs_w = ctx.needs_input_grad[:2]
        with torch.autocast(device, enabled=False):
            x_cast, w_cast = x_ND.to(dtype), weight_VD.to(dtype)
            grad_x = torch.empty_like(x_ND) if needs_x else None
            grad_w = torch.zeros_like(weight_VD) if needs_w else None
            total = torch.zeros((), dtype=torch.float32, device=x_ND.device)
            rows = N if N * V < CHUNKED_FROM else rows_per_chunk(D, V, device)
            for start in range(0, N, rows):
                now = slice(start, start + rows)
                x_nD = x_cast[now]
                loss, grad_nV = chunk_loss(F.linear(x_nD, w_cast), *[each[now] for each in of_rows], needs_x or needs_w)
                total += loss
                if grad_nV is None:
                    continue
                if grad_x is not None:
                    grad_x[now] = grad_nV @ w_cast
                if grad_w is None:
                    continue
                if dtype == grad_w.dtype:
                    grad_w.addmm_(grad_nV.T, x_nD)
                else:
                    grad_w += grad_nV.T @ x_nD
        ctx.grads = (grad_x, grad_w)
        return total

    @staticmethod
    def backward(ctx, grad_total: Tensor):  # ty: ignore[incompatible-method-override]  # one output, one gradient
        grad_x, grad_w = (None if g is None else g.mul_(grad_total) for g in ctx.grads)
        ctx.grads = None
        return grad_x, grad_w, *[None] * (len(ctx.needs_input_grad) - 2)
