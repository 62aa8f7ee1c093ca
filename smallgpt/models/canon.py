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

    kernel_size: int = 4
    """Number of tokens that a convolution reads: the current one and those before it."""

    def block_part(self, shape: BlockShape, label: str, active: bool = True, path: int | None = None) -> LayoutPart:
        """Layout part of a block with its two convolutions, whose sums are no matrix products and count no FLOPs."""
        part = super().block_part(shape, label, active, path)
        return replace(
            part,
            parameters=part.parameters + 2 * self.kernel_size * shape.width,
            state_elements=2 * (self.kernel_size - 1) * shape.width,
            activation_elements=part.activation_elements + 2 * shape.width,
        )

    @property
    def layer_types(self) -> list[str]:
        return ["hybrid"] * self.n_layer

    def check(self) -> None:
        if self.kernel_size < 2:
            raise ValueError(f"kernel_size={self.kernel_size}: must be at least 2; model=gpt has no convolutions")
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
        for tap_BTW, weight_1W in zip(
            context.taps(x_BTW, len(self.weight), self.layer_idx, self.state), self.weight, strict=True
        ):
            x_BTW = torch.addcmul(x_BTW, tap_BTW, weight_1W)
        return x_BTW


class CanonBlock(Block):
    """Decoder block whose attention and MLP each read through a short convolution."""

    def __init__(self, config: CanonConfig, shape: BlockShape, layer_idx: int):
        super().__init__(config, shape, layer_idx)
        self.conv_1 = DepthwiseConv(shape.width, config.kernel_size, layer_idx, state=0)
        self.conv_2 = DepthwiseConv(shape.width, config.kernel_size, layer_idx, state=1)

    def forward(self, x_BTW: Tensor, context: Context) -> Tensor:
        x_BTW = x_BTW + self.attn(self.conv_1(self.ln_1(x_BTW), context), context)
        return x_BTW + self.mlp(self.conv_2(self.ln_2(x_BTW), context))


class CanonBackbone(nn.Module):
    """Backbone of blocks with short convolutions, one after the other."""

    def __init__(self, config: CanonConfig):
        super().__init__()
        self.h = nn.ModuleList(CanonBlock(config, shape, i) for i, shape in enumerate(config.block_shapes()))

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
