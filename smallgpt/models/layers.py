"""Attention, MLP, norms, position codes and the decoder block that every variant is made of.

Letters in names: B batch, T time, S keys, W width of the block, H heads, K head width, F hidden width of the MLP.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration import BlockShape, DecoderConfig
from .context import Context

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


def norm(config: DecoderConfig, width: int) -> nn.Module:
    """Makes the norm that `config.norm` names, over `width` features."""
    if config.norm == "rmsnorm":
        return nn.RMSNorm(width, eps=1e-5)
    return nn.LayerNorm(width, eps=1e-5, bias=config.bias)


def rotate(x_BHTK: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Applies rotary position codes (arXiv 2104.09864), with halves paired as in GPT-NeoX."""
    a, b = x_BHTK.chunk(2, dim=-1)
    return x_BHTK * cos.to(x_BHTK.dtype) + torch.cat((-b, a), dim=-1) * sin.to(x_BHTK.dtype)


class AttentionKernel(nn.Module):
    """Scaled dot product by one of the library's attention implementations, which reads its attributes.

    It is a module, so that `output_attentions` records what it returns.
    """

    is_causal = True
    num_key_value_groups = 1

    def __init__(self, layer_idx: int):
        super().__init__()
        self.layer_idx = layer_idx

    def forward(
        self, q_BHTK: Tensor, k_BHSK: Tensor, v_BHSK: Tensor, dropout: float, context: Context
    ) -> tuple[Tensor, Tensor | None]:
        implementation: Any = ALL_ATTENTION_FUNCTIONS.get_interface(context.attention, attention_by_products)
        return implementation(
            self,
            q_BHTK,
            k_BHSK,
            v_BHSK,
            context.mask_B1TS,
            dropout=dropout,
            scaling=q_BHTK.shape[-1] ** -0.5,
            position_ids=context.position_BT,
            **context.attention_arguments,
        )


def attention_by_products(
    module: nn.Module,
    q_BHTK: Tensor,
    k_BHSK: Tensor,
    v_BHSK: Tensor,
    mask_B1TS: Tensor | None,
    dropout: float,
    scaling: float,
    **_others: Any,
) -> tuple[Tensor, Tensor]:
    """Attention by plain products, `eager` in the library's words: the one that can return its weights (B, H, T, S)."""
    score_BHTS = q_BHTK @ k_BHSK.transpose(2, 3) * scaling
    if mask_B1TS is not None and mask_B1TS.dtype == torch.bool:
        score_BHTS = score_BHTS.masked_fill(~mask_B1TS, torch.finfo(score_BHTS.dtype).min)
    elif mask_B1TS is not None:
        score_BHTS = score_BHTS + mask_B1TS
    weight_BHTS = score_BHTS.softmax(dim=-1, dtype=torch.float32).to(q_BHTK.dtype)
    weight_BHTS = F.dropout(weight_BHTS, dropout, module.training)
    return (weight_BHTS @ v_BHSK).transpose(1, 2), weight_BHTS


class CausalSelfAttention(nn.Module):
    """Multi-head causal self-attention, with rotary positions and QK-norm where the config asks for them."""

    def __init__(self, config: DecoderConfig, shape: BlockShape, layer_idx: int):
        super().__init__()
        self.n_head, self.head_width = shape.n_head, shape.head_width
        self.layer_idx = layer_idx
        self.kernel = AttentionKernel(layer_idx)
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
        dropout, mask_B1TS = self.dropout if self.training else 0.0, context.mask_B1TS
        if T > 1 and (mask_B1TS is None or isinstance(mask_B1TS, Tensor)):
            seen = T if mask_B1TS is None else mask_B1TS.shape[-1]
            k_BHTK, v_BHTK = k_BHTK[:, :, :seen], v_BHTK[:, :, :seen]  # of a cache that has room for more
        if context.attention == "sdpa":
            y_BHTK = F.scaled_dot_product_attention(
                q_BHTK,
                k_BHTK,
                v_BHTK,
                attn_mask=mask_B1TS,
                dropout_p=dropout,
                is_causal=mask_B1TS is None and T > 1,
            )
            y_BTHK = y_BHTK.transpose(1, 2)
        else:
            y_BTHK, _ = self.kernel(q_BHTK, k_BHTK, v_BHTK, dropout, context)
        return self.resid_dropout(self.c_proj(y_BTHK.reshape(B, T, W)))


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


class Block(GradientCheckpointingLayer):
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
