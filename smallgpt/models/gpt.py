"""GPT: blocks of one width, one after the other (the paper's baseline)."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from .configuration import DecoderConfig
from .context import Context
from .decoder import Decoder
from .layers import Block


class GPTConfig(DecoderConfig):
    """Config of GPT, the baseline: it adds nothing to the shared fields."""

    model_type = "smallgpt-gpt"


class GPTBackbone(nn.Module):
    """Backbone of blocks of one width, one after the other."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.h = nn.ModuleList(Block(config, shape, i) for i, shape in enumerate(config.block_shapes()))

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        for block in self.h:
            x_BTD = block(x_BTD, context)
        return x_BTD


class GPT(Decoder):
    """GPT model: the baseline that the other variants are compared with."""

    config_class = GPTConfig
    backbone_class = GPTBackbone


AutoConfig.register(GPTConfig.model_type, GPTConfig, exist_ok=True)
AutoModelForCausalLM.register(GPTConfig, GPT, exist_ok=True)
