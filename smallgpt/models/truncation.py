"""Truncation: the nearest product of low rank, and bases of the directions that matter.

The linear algebra of `narrowing`, in float64. Letters in names: D width of the stream given.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn


def truncated_product(left: Tensor, right: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """Factors of the product `left @ right` at its nearest of a rank, of equal size, and the relative error.

    The error is the root of the share of the squared singular values that are left out (Eckart and Young).
    """
    q_left, r_left = torch.linalg.qr(left)
    q_right, r_right = torch.linalg.qr(right.T)
    u, s, vh = torch.linalg.svd(r_left @ r_right.T, full_matrices=False)
    root = s[:rank].sqrt()
    total = s.square().sum()
    error = float((s[rank:].square().sum() / total).sqrt()) if total else 0.0
    made = q_left @ (u[:, :rank] * root), (root[:, None] * vh[:rank]) @ q_right.T
    short = rank - len(s)  # a rank beyond that of the factors is filled with zeros
    if short > 0:
        made = nn.functional.pad(made[0], (0, short)), nn.functional.pad(made[1], (0, 0, 0, short))
    return *made, error


def product_error(left: Tensor, right: Tensor, made_left: Tensor, made_right: Tensor) -> float:
    """Norm of `left @ right - made_left @ made_right` over that of `left @ right`, without making the products."""
    whole = ((left.T @ left) * (right @ right.T)).sum()
    lefts, rights = torch.cat((left, -made_left), dim=1), torch.cat((right, made_right), dim=0)
    difference = ((lefts.T @ lefts) * (rights @ rights.T)).sum()
    return float((difference.clamp(min=0) / whole).sqrt()) if whole else 0.0


def evenly_spaced(count: int, among: int) -> list[int]:
    """Indices of `count` of `among` things at even distances, the first and the last of them included."""
    return [round(i * (among - 1) / (count - 1)) for i in range(count)] if count > 1 else [0]


def largest(sizes: Tensor, count: int) -> Tensor:
    """Indices of the largest of these numbers, in their order."""
    return sizes.topk(count).indices.sort().values


def nested_bases(moment_DD: Tensor, widths: Iterable[int], centred: bool) -> dict[int, Tensor]:
    """Orthonormal bases of these widths in the directions of most energy, each the first columns of the next.

    With `centred`, coordinates sum to zero at each width, as a LayerNorm makes them, which costs one direction a width.
    """
    directions_DD = torch.linalg.eigh(moment_DD).eigenvectors.flip(-1)
    columns, used, ends = [directions_DD[:, :0]], 0, sorted(set(widths))
    for low, high in pairwise([0, *ends]):
        turn = orthogonal_to_ones(high - low) if centred else torch.eye(high - low, dtype=moment_DD.dtype)
        taken = turn.shape[1]
        columns.append(directions_DD[:, used : used + taken] @ turn.T)
        used += taken
    whole = torch.cat(columns, dim=1)
    return {width: whole[:, :width] for width in ends}


def orthogonal_to_ones(size: int) -> Tensor:
    """Orthonormal basis, as columns, of the vectors of this size whose numbers sum to zero."""
    ones = torch.ones(size, 1, dtype=torch.float64)
    return torch.linalg.qr(torch.cat((ones, torch.eye(size, dtype=torch.float64)[:, 1:]), dim=1)).Q[:, 1:]
