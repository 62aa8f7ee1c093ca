"""Loss of a student that also learns from a teacher's logits (arXiv 1503.02531), a chunk of rows at a time.

The logits of both models over all positions would be the largest tensors of a training by far: see `loss`.
N positions, D width of the student, E of the teacher, V vocabulary.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from .loss import IGNORED, ChunkedLoss


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
    chunk_loss = partial(
        distilled_chunk_loss, teacher_weight_VE=teacher_weight_VE, share=share, temperature=temperature
    )
    total = ChunkedLoss.apply(x_ND, weight_VD, chunk_loss, target_N, teacher_x_NE)
    return total / (target_N != IGNORED).sum().clamp(min=1)


def distilled_chunk_loss(
    logits_nV: Tensor,
    target_n: Tensor,
    teacher_x_nE: Tensor,
    with_gradient: bool,
    teacher_weight_VE: Tensor,
    share: float,
    temperature: float,
) -> tuple[Tensor, Tensor | None]:
    """Sum of the losses of some rows, and its gradient with respect to their logits, which are written over."""
    dtype = logits_nV.dtype
    scored_n1 = (target_n != IGNORED).unsqueeze(1)
    target_n1 = target_n.clamp(min=0).unsqueeze(1)
    logp_nV = torch.log_softmax(logits_nV, -1, dtype=torch.float32)
    soft_nV = torch.log_softmax(logits_nV.float().div_(temperature), -1)
    taught_nV = F.linear(teacher_x_nE.to(dtype), teacher_weight_VE.to(dtype)).float()
    taught_nV = torch.log_softmax(taught_nV.div_(temperature), -1)
    q_nV = taught_nV.exp()
    divergence_n1 = (q_nV * (taught_nV - soft_nV)).sum(-1, keepdim=True)
    losses_n1 = share * temperature**2 * divergence_n1 - (1 - share) * logp_nV.gather(1, target_n1)
    total = (losses_n1 * scored_n1).sum()
    if not with_gradient:
        return total, None
    grad_nV = logp_nV.exp_()  # softmax - onehot(target), made in place
    grad_nV.scatter_add_(1, target_n1, grad_nV.new_full(target_n1.shape, -1.0)).mul_(1 - share)
    grad_nV.add_(soft_nV.exp_().sub_(q_nV), alpha=share * temperature)
    return total, grad_nV.mul_(scored_n1).to(dtype)
