"""Narrow blocks: attention and MLP of a decoder block made from those of a wider one, for `narrowing`.

Letters in names: D width of the stream given, W of the one made, H heads, K head width, F hidden units, N outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .layers import MLP, CausalSelfAttention
from .truncation import largest, product_error, truncated_product


@dataclass
class Reading:
    """A map that reads the normed stream: its weights, its biases, and the norm in front of it."""

    weight_ND: Tensor
    bias_N: Tensor | None
    gain_D: Tensor
    shift_D: Tensor | None
    """Bias of the norm, where it has one."""

    @classmethod
    def of(cls, linear: Any, norm: Any) -> Reading:
        return cls(double(linear.weight), double(linear.bias), double(norm.weight), double(getattr(norm, "bias", None)))

    @property
    def folded_ND(self) -> Tensor:
        """Weights with the gain of the norm in them."""
        return self.weight_ND * self.gain_D

    def through(self, basis_DW: Tensor | None) -> Reading:
        """The map of the narrowed stream; the stream as it is, where there is no basis."""
        if basis_DW is None:
            return self
        D, W = basis_DW.shape
        size = self.gain_D.square().mean().sqrt()
        gain_W = (size * math.sqrt(D / W)).expand(W)  # a norm makes sqrt(W) the length of what had sqrt(D)
        shift_W, bias_N = self.shift_D, self.bias_N
        if shift_W is not None and bias_N is not None:
            shift_W, bias_N = torch.zeros(W, dtype=torch.float64), bias_N + self.weight_ND @ shift_W
        return Reading(self.folded_ND / size @ basis_DW, bias_N, gain_W, shift_W)


def double(value: Tensor | None) -> Any:
    """A weight as float64; None stays."""
    return None if value is None else value.detach().double()


def narrow_heads(
    attention: CausalSelfAttention, rope: bool, qkv: Tensor, qkv_bias: Tensor | None, out_WN: Tensor
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Maps of an attention with the heads of `attention`, from those of another with more or wider ones.

    Args:
        attention: the one that is made.
        rope: whether queries and keys are rotated, so that only whole pairs of equal frequency can be taken.
        qkv: (3, heads, K, inputs).
        qkv_bias: (3, heads, K).
        out_WN: (outputs, heads, K).
    """
    H, K, given = attention.n_head, attention.head_width, qkv.shape[2]
    if qkv.shape[1:3] == (H, K):
        return qkv, qkv_bias, out_WN
    # a bias is the weight of an input that is always one
    maps = qkv if qkv_bias is None else torch.cat((qkv, qkv_bias[..., None]), dim=-1)
    sizes = torch.stack([(out_WN[:, h] @ maps[2, h]).norm() for h in range(qkv.shape[1])])
    kept = largest(sizes, H)
    maps, out = maps[:, kept], out_WN[:, kept]
    if given > K:
        made = torch.empty(3, H, K, maps.shape[-1], dtype=torch.float64)
        narrow_out = torch.empty(out.shape[0], H, K, dtype=torch.float64)
        pairs = torch.tensor([round(i * given / K) for i in range(K // 2)])
        for h in range(H):
            if rope:
                made[:2, h] = maps[:2, h, torch.cat((pairs, pairs + given // 2))]
            else:
                query_t, key, _ = truncated_product(maps[0, h].T, maps[1, h], K)
                made[0, h], made[1, h] = query_t.T, key
            narrow_out[:, h], made[2, h], _ = truncated_product(out[:, h], maps[2, h], K)
        made[:2] *= (K / given) ** 0.25  # scores are divided by the root of the width
        maps, out = made, narrow_out
    if qkv_bias is None:
        return maps, None, out
    return maps[..., :-1], maps[..., -1], out


def narrow_attention(new: Any, old: Any, norms: tuple[Any, Any], basis_DW: Tensor | None, rope: bool) -> float:
    """Fills an attention, and the norm in front of it, from a wider one; returns the error of values and outputs."""
    given = Reading.of(old.c_attn, norms[1])
    read = given.through(basis_DW)
    H, K, width = old.n_head, old.head_width, read.weight_ND.shape[1]
    out_DN, out_bias = written(old.c_proj, basis_DW)
    bias = None if read.bias_N is None else read.bias_N.view(3, H, K)
    qkv, bias, out = narrow_heads(new, rope, read.weight_ND.view(3, H, K, width), bias, out_DN.view(-1, H, K))
    fill(new.c_attn, qkv.reshape(-1, width), None if bias is None else bias.flatten())
    fill(new.c_proj, out.flatten(1), out_bias)
    fill(norms[0], read.gain_D, read.shift_D)
    made = lifted(out.flatten(1), basis_DW), lifted(qkv[2].flatten(0, 1) * read.gain_D, basis_DW, transposed=True)
    wanted = double(old.c_proj.weight), given.folded_ND[2 * H * K :]
    return product_error(*behind(norms[1], *wanted), *behind(norms[1], *made))


def narrow_mlp(new: MLP, old: MLP, norms: tuple[Any, Any], basis_DW: Tensor | None) -> float:
    """Fills an MLP, and the norm in front of it, from another; returns the error of the product of its two maps.

    Hidden units that the other lacks read what they begin with, and write zeros.
    """
    given = Reading.of(old.c_fc, norms[1])
    read = given.through(basis_DW)
    gates = new.c_fc.out_features // new.c_proj.in_features
    before = read.weight_ND.view(gates, old.c_proj.in_features, -1)
    bias = None if read.bias_N is None else read.bias_N.view(gates, -1)
    out_DF, out_bias = written(old.c_proj, basis_DW)
    F, more = new.c_proj.in_features, new.c_proj.in_features - old.c_proj.in_features
    if more > 0:
        first = double(new.c_fc.weight).view(gates, F, -1)[:, -more:]
        before, out_DF = torch.cat((before, first), dim=1), nn.functional.pad(out_DF, (0, more))
        bias = None if bias is None else nn.functional.pad(bias, (0, more))
    elif more < 0:
        kept = largest(before.square().sum(dim=(0, 2)) * out_DF.square().sum(dim=0), F)
        before, out_DF, bias = before[:, kept], out_DF[:, kept], None if bias is None else bias[:, kept]
    fill(new.c_fc, before.flatten(0, 1), None if bias is None else bias.flatten())
    fill(new.c_proj, out_DF, out_bias)
    fill(norms[0], read.gain_D, read.shift_D)
    up = given.folded_ND.view(gates, old.c_proj.in_features, -1)[-1]
    made = lifted(out_DF, basis_DW), lifted(before[-1] * read.gain_D, basis_DW, transposed=True)
    return product_error(*behind(norms[1], double(old.c_proj.weight), up), *behind(norms[1], *made))


def written(linear: nn.Linear, basis_DW: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Weights and biases of a map that writes to the narrowed stream."""
    weight, bias = double(linear.weight), double(linear.bias)
    if basis_DW is None:
        return weight, bias
    return basis_DW.T @ weight, None if bias is None else basis_DW.T @ bias


def lifted(value: Tensor, basis_DW: Tensor | None, transposed: bool = False) -> Tensor:
    """A map of the narrowed stream as one of the given stream: its outputs, or where transposed its inputs."""
    if basis_DW is None:
        return value
    # a norm's length, sqrt(W), is sqrt(D) there
    return value @ basis_DW.T * math.sqrt(basis_DW.shape[1] / basis_DW.shape[0]) if transposed else basis_DW @ value


def behind(norm: nn.Module, write_DN: Tensor, read_ND: Tensor) -> tuple[Tensor, Tensor]:
    """A map that writes to the stream and one that reads it, as far as the norm between lets them differ.

    A LayerNorm takes out the mean of what is written.
    """
    if isinstance(norm, nn.LayerNorm):
        return write_DN - write_DN.mean(0, keepdim=True), read_ND - read_ND.mean(1, keepdim=True)
    return write_DN, read_ND


def fill(module: Any, weight: Tensor, bias: Tensor | None = None) -> None:
    """Copies values into a module's weights."""
    with torch.no_grad():
        module.weight.copy_(weight)
        if bias is not None:
            module.bias.copy_(bias)
