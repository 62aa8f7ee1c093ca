"""Bowtie: the stream is wide, narrow at three quarters of the depth, and wide again (arXiv 2606.18246).

By default a narrow block reads and writes the first coordinates of the stream, and the others go past it.
"""

from __future__ import annotations

import math

from transformers import AutoConfig, AutoModelForCausalLM

from .decoder import Decoder
from .width_schedule import Operator, WidthScheduleBackbone, WidthScheduleConfig


class BowtieConfig(WidthScheduleConfig):
    """Config of Bowtie: how narrow its narrowest block is and where it lies; widths change by one factor a block."""

    model_type = "smallgpt-bowtie"

    narrowest: float = 0.5
    """Width of the narrowest block over n_embd."""
    turn: float = 0.75
    """Depth at which the narrowest block lies: 0 is the first block, 1 the last."""
    downsample_operator: Operator = "carry"

    def scheduled_widths(self) -> list[int]:
        last = self.n_layer - 1
        turn = min(max(1, round(self.turn * last)), last - 1)
        shares = [i / turn if i <= turn else (last - i) / (last - turn) for i in range(self.n_layer)]
        return [*(self.fitting(self.n_embd * self.narrowest**share) for share in shares), self.n_embd]

    def wider(self, least: int) -> str:
        return f"narrowest={math.ceil(1000 * least / self.n_embd) / 1000}"

    def check(self) -> None:
        if not 0 < self.narrowest <= 1:
            raise ValueError(f"narrowest={self.narrowest}: must be over 0 and at most 1")
        if not 0 < self.turn < 1:
            raise ValueError(f"turn={self.turn}: must be over 0 and under 1")
        if self.n_layer < 3:
            raise ValueError(f"n_layer={self.n_layer}: a bowtie has at least 3 blocks; use model=lineargpt")
        super().check()


class Bowtie(Decoder):
    """Bowtie model: a stream that is narrow in the middle of the depth and wide at both ends."""

    config_class = BowtieConfig
    backbone_class = WidthScheduleBackbone


AutoConfig.register(BowtieConfig.model_type, BowtieConfig, exist_ok=True)
AutoModelForCausalLM.register(BowtieConfig, Bowtie, exist_ok=True)
