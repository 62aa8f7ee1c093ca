"""ConvGPT: a convolution over time halves the stream after every few blocks (arXiv 2404.14462, section 3.3).

The paper's kernel is 1, which is a linear map and so the same model as LinearGPT. A longer one, as here by default,
also sees the last tokens, and begins as that map.
"""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForCausalLM

from .decoder import Decoder
from .downsample import DownsampleConfig
from .width_schedule import Operator, WidthScheduleBackbone


class ConvGPTConfig(DownsampleConfig):
    """Config of ConvGPT: a width schedule whose operator is a causal convolution."""

    model_type = "smallgpt-conv"

    downsample_operator: Operator = "conv"
    kernel_size: int = 4


class ConvGPT(Decoder):
    """ConvGPT model: causal convolutions narrow the stream between its blocks."""

    config_class = ConvGPTConfig
    backbone_class = WidthScheduleBackbone


AutoConfig.register(ConvGPTConfig.model_type, ConvGPTConfig, exist_ok=True)
AutoModelForCausalLM.register(ConvGPTConfig, ConvGPT, exist_ok=True)
