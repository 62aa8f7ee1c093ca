"""Loss of a student that also learns from a teacher's logits (arXiv 1503.02531), a chunk of rows at a time.

The logits of both models over all positions would be the largest tensors of a training by far: see `loss`, whose way of
taking a chunk's gradients at once this shares. N positions, D width of the student, E of the teacher, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .loss import CHUNKED_FROM, IGNORED, rows_per_chunk


def distilled_cross_entropy(
    x_ND: Tensor,
    weight_VD: Tensor,
    target_N: Tensor,
    teacher_x_NE: Tensor,
    teacher_weight_VE: Tensor,
    share: float,
    temperature: float,
) -> Tensor:
    """Mean over the scored positions of (1 - share) cross-entropy + share T^2 KL(teacher || student), both at T.

    The square keeps the gradient's size whatever the temperature T; only the student gets a gradient.
    """
    total = _ChunkedDistillation.apply(x_ND, weight_VD, target_N, teacher_x_NE, teacher_weight_VE, share, temperature)
    return total / (target_N != IGNORED).sum().clamp(min=1)


class _ChunkedDistillation(torch.autograd.Function):
    """Sum of the losses; the gradients are made in the forward pass and scaled in the backward pass."""

    @staticmethod
    def forward(ctx, x_ND, weight_VD, target_N, teacher_x_NE, teacher_weight_VE, share, temperature) -> Tensor:
        device, (N, D), V = x_ND.device.type, x_ND.shape, weight_VD.shape[0]
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x_ND.dtype
        needs_x, needs_w = ctx.needs_input_grad[:2]
        with torch.autocast(device, enabled=False):
            x_cast, w_cast = x_ND.to(dtype), weight_VD.to(dtype)
            teacher_x, teacher_w = teacher_x_NE.to(dtype), teacher_weight_VE.to(dtype)
            grad_x = torch.empty_like(x_ND) if needs_x else None
            grad_w = torch.zeros_like(weight_VD) if needs_w else None
            total = torch.zeros((), dtype=torch.float32, device=x_ND.device)
            rows = N if N * V < CHUNKED_FROM else rows_per_chunk(D, V, x_ND.device.type)
            for start in range(0, N, rows):
                now = slice(start, start + rows)
                scored_n1 = (target_N[now] != IGNORED).unsqueeze(1)
                target_n1 = target_N[now].clamp(min=0).unsqueeze(1)
                logits_nV = F.linear(x_cast[now], w_cast).float()
                logp_nV = torch.log_softmax(logits_nV, -1)
                soft_nV = torch.log_softmax(logits_nV.div_(temperature), -1)
                taught_nV = torch.log_softmax(F.linear(teacher_x[now], teacher_w).float().div_(temperature), -1)
                q_nV = taught_nV.exp()
                divergence_n1 = (q_nV * (taught_nV - soft_nV)).sum(-1, keepdim=True)
                losses_n1 = share * temperature**2 * divergence_n1 - (1 - share) * logp_nV.gather(1, target_n1)
                total += (losses_n1 * scored_n1).sum()
                if grad_x is None and grad_w is None:
                    continue
                grad_nV = logp_nV.exp_()  # softmax - onehot(target), made in place
                grad_nV.scatter_add_(1, target_n1, grad_nV.new_full(target_n1.shape, -1.0)).mul_(1 - share)
                grad_nV.add_(soft_nV.exp_().sub_(q_nV), alpha=share * temperature)
                grad_nV = grad_nV.mul_(scored_n1).to(dtype)
                if grad_x is not None:
                    grad_x[now] = grad_nV @ w_cast
                if grad_w is not None:
                    grad_w += grad_nV.T @ x_cast[now]
        ctx.grads = (grad_x, grad_w)
        return total

    @staticmethod
    def backward(ctx, grad_total: Tensor):  # ty: ignore[incompatible-method-override]  # one output, one gradient
        grad_x, grad_w = (None if g is None else g.mul_(grad_total) for g in ctx.grads)
        ctx.grads = None
        return grad_x, grad_w, None, None, None, None, None
