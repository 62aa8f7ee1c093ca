"""Attention, MLP, norms, position codes and the decoder block that every variant is made of.

Letters in names: B batch, T time, W width of the block, H heads, K head width, F hidden width of the MLP.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.cache_utils import Cache

from .configuration import BlockShape, DecoderConfig

Role = Literal["hidden", "residual", "stream"]


class Linear(nn.Linear):
    """A linear map that knows its role, by which it is initialised (see `Decoder._init_weights`).

    hidden: reads a normalised stream; residual: adds to the stream; stream: makes the stream itself.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool, role: Role = "hidden", taps: int = 1):
        """
        Args:
            taps: tokens whose inputs lie side by side, the current one last; the maps of earlier ones begin at zero.
        """
        super().__init__(in_features, out_features, bias=bias)
        self.role, self.taps = role, taps


@dataclass
class Context:
    """Inputs that all blocks of one forward pass share: positions, mask, cache and padding."""

    position_BT: Tensor
    mask_B1TS: Tensor | None = None
    """Mask of the S keys that each query may see; None: causal, by the kernel itself."""
    cache: Cache | None = None
    padding_BT1: Tensor | None = None
    """Mask that is 0 where the input is padding; None where nothing is."""
    rope_theta: float = 10000.0
    _rotations: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def rotation(self, head_width: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the rotary positions, each (B, 1, T, head_width), computed once per width."""
        if head_width not in self._rotations:
            device = self.position_BT.device
            exponent = torch.arange(0, head_width, 2, device=device, dtype=torch.float32) / head_width
            angle_BTk = self.position_BT[..., None].float() * self.rope_theta**-exponent
            angle_B1TK = torch.cat((angle_BTk, angle_BTk), dim=-1).unsqueeze(1)
            self._rotations[head_width] = angle_B1TK.cos(), angle_B1TK.sin()
        return self._rotations[head_width]


def with_past(x_BTW: Tensor, past: int, context: Context, layer_idx: int, state: int = 0) -> Tensor:
    """Inputs of a causal convolution: the `past` ones before, zeros at the beginning, then these; (B, past + T, W).

    The cache keeps the last `past` of them; `state` counts a block's convolutions.
    """
    if context.padding_BT1 is not None:
        x_BTW = x_BTW * context.padding_BT1
    if context.cache is None:
        return F.pad(x_BTW, (0, 0, past, 0))
    # what it kept, then these inputs; at the first call these inputs alone
    x_BWS = context.cache.update_conv_state(x_BTW.transpose(1, 2), layer_idx, state_idx=state, conv_kernel_size=past)
    return F.pad(x_BWS, (x_BTW.shape[1] + past - x_BWS.shape[-1], 0)).transpose(1, 2)


def norm(config: DecoderConfig, width: int) -> nn.Module:
    """Makes the norm that `config.norm` names, over `width` features."""
    if config.norm == "rmsnorm":
        return nn.RMSNorm(width, eps=1e-5)
    return nn.LayerNorm(width, eps=1e-5, bias=config.bias)


def rotate(x_BHTK: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Applies rotary position codes (arXiv 2104.09864), with halves paired as in GPT-NeoX."""
    a, b = x_BHTK.chunk(2, dim=-1)
    return x_BHTK * cos.to(x_BHTK.dtype) + torch.cat((-b, a), dim=-1) * sin.to(x_BHTK.dtype)


class CausalSelfAttention(nn.Module):
    """Multi-head causal self-attention, with rotary positions and QK-norm where the config asks for them."""

    def __init__(self, config: DecoderConfig, shape: BlockShape, layer_idx: int):
        super().__init__()
        self.n_head, self.head_width = shape.n_head, shape.head_width
        self.layer_idx = layer_idx
        self.dropout, self.qk_norm = config.dropout, config.qk_norm
        self.rope = config.position_encoding == "rope"
        self.c_attn = Linear(shape.width, 3 * shape.width, config.bias)
        self.c_proj = Linear(shape.width, shape.width, config.bias, role="residual")
        self.resid_dropout = nn.Dropout(config.dropout)

    def forward(self, x_BTW: Tensor, context: Context) -> Tensor:
        B, T, W = x_BTW.shape
        qkv_3BHTK = self.c_attn(x_BTW).view(B, T, 3, self.n_head, self.head_width).permute(2, 0, 3, 1, 4)
        q_BHTK, k_BHTK, v_BHTK = qkv_3BHTK.unbind(0)
        if self.qk_norm:
            q_BHTK = F.rms_norm(q_BHTK, (self.head_width,))
            k_BHTK = F.rms_norm(k_BHTK, (self.head_width,))
        if self.rope:
            cos, sin = context.rotation(self.head_width)
            q_BHTK, k_BHTK = rotate(q_BHTK, cos, sin), rotate(k_BHTK, cos, sin)
        if context.cache is not None:
            k_BHTK, v_BHTK = context.cache.update(k_BHTK, v_BHTK, self.layer_idx)
        y_BHTK = F.scaled_dot_product_attention(
            q_BHTK,
            k_BHTK,
            v_BHTK,
            attn_mask=context.mask_B1TS,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=context.mask_B1TS is None and T > 1,
        )
        return self.resid_dropout(self.c_proj(y_BHTK.transpose(1, 2).reshape(B, T, W)))


class MLP(nn.Module):
    """MLP of a block: GELU or squared ReLU (arXiv 2109.08668) between two maps, or gated SwiGLU (arXiv 2002.05202)."""

    def __init__(self, config: DecoderConfig, shape: BlockShape):
        super().__init__()
        self.activation = config.activation
        gates = 2 if config.activation == "swiglu" else 1
        self.c_fc = Linear(shape.width, gates * shape.mlp_width, config.bias)
        self.c_proj = Linear(shape.mlp_width, shape.width, config.bias, role="residual")
        self.resid_dropout = nn.Dropout(config.dropout)

    def forward(self, x_BTW: Tensor) -> Tensor:
        h = self.c_fc(x_BTW)
        if self.activation == "swiglu":
            gate_BTF, up_BTF = h.chunk(2, dim=-1)
            h_BTF = F.silu(gate_BTF) * up_BTF
        elif self.activation == "relu2":
            h_BTF = F.relu(h).square()
        else:
            h_BTF = F.gelu(h, approximate="tanh" if self.activation == "gelu_tanh" else "none")
        return self.resid_dropout(self.c_proj(h_BTF))


class Block(nn.Module):
    """Pre-norm decoder block: y = x + Attn(Norm(x)); y + MLP(Norm(y))."""

    def __init__(self, config: DecoderConfig, shape: BlockShape, layer_idx: int):
        super().__init__()
        self.ln_1 = norm(config, shape.width)
        self.attn = CausalSelfAttention(config, shape, layer_idx)
        self.ln_2 = norm(config, shape.width)
        self.mlp = MLP(config, shape)

    def forward(self, x_BTW: Tensor, context: Context) -> Tensor:
        x_BTW = x_BTW + self.attn(self.ln_1(x_BTW), context)
        return x_BTW + self.mlp(self.ln_2(x_BTW))
