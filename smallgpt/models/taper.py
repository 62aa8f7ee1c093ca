"""Taper: GPT whose MLPs are wide in the first blocks and narrow in the last (arXiv 2606.23670).

Parameters, FLOPs, cache and the number of operations are exactly GPT's.
"""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForCausalLM

from .gpt import GPT, GPTConfig


class TaperConfig(GPTConfig):
    """Config of Taper: GPT's, with an MLP that is half as wide again in the first block and half as wide in the last.

    A negative `mlp_taper` turns it round.
    """

    model_type = "smallgpt-taper"

    mlp_taper: float = 0.5


class Taper(GPT):
    """Taper model: GPT whose MLPs become narrower along depth."""

    config_class = TaperConfig


AutoConfig.register(TaperConfig.model_type, TaperConfig, exist_ok=True)
AutoModelForCausalLM.register(TaperConfig, Taper, exist_ok=True)
