"""Canon: GPT with a short causal convolution before attention and one before the MLP of each block.

Each is depthwise, reads the last few tokens and adds to what it reads ("Canon layers", places A and C of Allen-Zhu,
Physics of Language Models, part 4.1). Letters in names: B batch, T time, W width.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers import initialization as init

from .configuration import BlockShape, DecoderConfig, LayoutPart
from .context import Context
from .decoder import Decoder
from .layers import Block


class CanonConfig(DecoderConfig):
    """Config of Canon: GPT's, with the kernel of the convolutions."""

    model_type = "smallgpt-canon"
    number_of_conv_states = 2

    conv_kernel: int = 4
    """Number of tokens that a convolution reads: the current one and those before it."""
    conv_blocks: int | None = None
    """Number of blocks, the first ones, that have convolutions; null: all."""

    def has_convolutions(self, index: int) -> bool:
        """Whether the block of this layer index has convolutions."""
        return self.conv_blocks is None or index < self.conv_blocks

    def body(self) -> list[LayoutPart]:
        parts = super().body()
        return [self.with_convolutions(part) if self.has_convolutions(i) else part for i, part in enumerate(parts)]

    def with_convolutions(self, part: LayoutPart) -> LayoutPart:
        """Layout part of a block with two convolutions, whose sums are no matrix products and count no FLOPs."""
        return replace(
            part,
            parameters=part.parameters + 2 * self.conv_kernel * part.in_width,
            state_elements=2 * (self.conv_kernel - 1) * part.in_width,
            activation_elements=part.activation_elements + 2 * part.in_width,
        )

    @property
    def layer_types(self) -> list[str]:
        return ["hybrid" if self.has_convolutions(i) else "full_attention" for i in range(self.n_layer)]

    @property
    def conv_state_length(self) -> int:
        return self.conv_kernel - 1

    def check(self) -> None:
        if self.conv_kernel < 2:
            raise ValueError(f"conv_kernel={self.conv_kernel}: must be at least 2; model=gpt has no convolutions")
        if self.conv_blocks is not None and not 1 <= self.conv_blocks <= self.n_layer:
            raise ValueError(f"conv_blocks={self.conv_blocks}: must be from 1 to n_layer={self.n_layer}, or null")
        super().check()


class DepthwiseConv(nn.Module):
    """Causal convolution of each coordinate alone that adds to its input: y_t = x_t + sum_j w_j x_(t-j), from w = 0."""

    def __init__(self, width: int, kernel_size: int, layer_idx: int, state: int):
        super().__init__()
        self.layer_idx, self.state = layer_idx, state
        # of three dimensions, so that Muon takes it for no matrix
        self.weight = nn.Parameter(torch.zeros(kernel_size, 1, width))

    def reset_parameters(self) -> None:
        init.zeros_(self.weight)

    def forward(self, x_BTW: Tensor, context: Context) -> Tensor:
        where = len(self.weight), self.layer_idx, self.state
        if x_BTW.shape[1] == 1:
            return x_BTW + (context.taps_of_token(x_BTW, *where) * self.weight.squeeze(1)).sum(dim=1, keepdim=True)
        for tap_BTW, weight_1W in zip(context.taps(x_BTW, *where), self.weight, strict=True):
            x_BTW = torch.addcmul(x_BTW, tap_BTW, weight_1W)
        return x_BTW


class CanonBlock(Block):
    """Decoder block whose attention and MLP each read through a short convolution."""

    def __init__(self, config: CanonConfig, shape: BlockShape, layer_idx: int):
        super().__init__(config, shape, layer_idx)
        self.conv_1 = DepthwiseConv(shape.width, config.conv_kernel, layer_idx, state=0)
        self.conv_2 = DepthwiseConv(shape.width, config.conv_kernel, layer_idx, state=1)

    def forward(self, x_BTW: Tensor, context: Context) -> Tensor:
        x_BTW = x_BTW + self.attn(self.conv_1(self.ln_1(x_BTW), context), context)
        return x_BTW + self.mlp(self.conv_2(self.ln_2(x_BTW), context))


class CanonBackbone(nn.Module):
    """Backbone of blocks with short convolutions, one after the other."""

    def __init__(self, config: CanonConfig):
        super().__init__()
        self.h = nn.ModuleList(
            (CanonBlock if config.has_convolutions(i) else Block)(config, shape, i)
            for i, shape in enumerate(config.block_shapes())
        )

    def forward(self, x_BTW: Tensor, context: Context) -> Tensor:
        for block in self.h:
            x_BTW = block(x_BTW, context)
        return x_BTW


class Canon(Decoder):
    """Canon model: GPT whose blocks look back over a few tokens by themselves."""

    config_class = CanonConfig
    backbone_class = CanonBackbone


AutoConfig.register(CanonConfig.model_type, CanonConfig, exist_ok=True)
AutoModelForCausalLM.register(CanonConfig, Canon, exist_ok=True)
