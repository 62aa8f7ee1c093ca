"""LinearGPT: a learned linear map halves the stream after every few blocks (arXiv 2404.14462, section 3.2)."""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForCausalLM

from .decoder import Decoder
from .downsample import DownsampleConfig
from .width_schedule import WidthScheduleBackbone


class LinearGPTConfig(DownsampleConfig):
    """Config of LinearGPT: a width schedule whose operator is a linear map."""

    model_type = "smallgpt-linear"


class LinearGPT(Decoder):
    """LinearGPT model: learned linear maps narrow the stream between its blocks."""

    config_class = LinearGPTConfig
    backbone_class = WidthScheduleBackbone


AutoConfig.register(LinearGPTConfig.model_type, LinearGPTConfig, exist_ok=True)
AutoModelForCausalLM.register(LinearGPTConfig, LinearGPT, exist_ok=True)
