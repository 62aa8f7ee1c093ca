"""CanonBowtie: Canon's short convolutions in the blocks of a Bowtie, which carry what they do not read."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from .bowtie import BowtieConfig
from .canon import Canon, CanonBlock, CanonConfig
from .context import Context
from .width_schedule import CarriedBlock


class CanonBowtieConfig(CanonConfig, BowtieConfig):
    """Config of CanonBowtie: the convolutions of Canon and the widths of Bowtie."""

    model_type = "smallgpt-canon-bowtie"

    def check(self) -> None:
        if self.downsample_operator != "carry":
            raise ValueError(
                f"downsample_operator={self.downsample_operator}: its blocks work inside the stream; must be carry"
            )
        super().check()


class CarriedCanonBlock(CarriedBlock, CanonBlock):
    """A block with short convolutions that reads and writes the first coordinates of a wider stream."""


class CanonBowtieBackbone(nn.Module):
    """Backbone of blocks of a Bowtie's widths, of which all or the first have convolutions."""

    def __init__(self, config: CanonBowtieConfig):
        super().__init__()
        self.h = nn.ModuleList(
            (CarriedCanonBlock if config.has_convolutions(i) else CarriedBlock)(config, shape, i)
            for i, shape in enumerate(config.block_shapes())
        )

    def forward(self, x_BTW: Tensor, context: Context) -> Tensor:
        for block in self.h:
            x_BTW = block(x_BTW, context)
        return x_BTW


class CanonBowtie(Canon):
    """CanonBowtie model: blocks that look back over a few tokens, in a stream that is narrow in the middle."""

    config_class = CanonBowtieConfig
    backbone_class = CanonBowtieBackbone


AutoConfig.register(CanonBowtieConfig.model_type, CanonBowtieConfig, exist_ok=True)
AutoModelForCausalLM.register(CanonBowtieConfig, CanonBowtie, exist_ok=True)
