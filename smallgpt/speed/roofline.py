"""FLOPs and bytes that a piece of inference takes, whatever machine does it."""

from dataclasses import dataclass
from statistics import mean
from typing import Literal, Protocol

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from smallgpt.inference.weight_formats import own_bytes
from smallgpt.models.configuration import DecoderConfig
from smallgpt.models.cost import cost


@dataclass(frozen=True)
class Work:
    """A piece of inference that is timed: reading a prompt, or making a token of each sequence after it.

    prefill: seconds to the first token; decode: seconds between two tokens, the mean over all after the first.
    """

    kind: Literal["prefill", "decode"]
    prompt: int
    new_tokens: int
    batch: int = 1

    @property
    def size(self) -> int:
        """Size of the work in a table: the length of the prompt, or the number of sequences."""
        return self.prompt if self.kind == "prefill" else self.batch

    @property
    def tokens(self) -> int:
        """Number of tokens that the measured time stands for."""
        return self.prompt if self.kind == "prefill" else self.batch

    @property
    def contexts(self) -> int:
        """Length of a sequence in which attention has as many keys per token, on average, as in this work."""
        return self.prompt if self.kind == "prefill" else 2 * self.prompt + self.new_tokens - 1


@dataclass(frozen=True)
class Demand:
    """FLOPs and bytes of a whole prompt, or of one step that makes a token of each sequence.

    What has no closed form is None.
    """

    flops: float | None
    weight_bytes: int
    cache_bytes: float | None
    """Bytes of keys, values and states that a step reads, or that a prompt leaves."""

    @property
    def bytes(self) -> float | None:
        """Bytes of weights and cache together."""
        return None if self.cache_bytes is None else self.weight_bytes + self.cache_bytes


class Generating(Protocol):
    """Protocol of a model that generates, in whatever engine."""

    config: PreTrainedConfig
    dtype: torch.dtype


def demand(model: Generating, work: Work, weights: int) -> Demand:
    """FLOPs and bytes that a model needs for a piece of work.

    Logits are made of the last token alone, so a prompt pays once for the head.

    Args:
        weights: `read_bytes` of the model.
    """
    config = model.config
    if not isinstance(config, DecoderConfig):
        return Demand(None, weights, None)
    if work.kind == "decode" and not config.can_cache:
        lengths = range(work.prompt + 1, work.prompt + work.new_tokens)
        return Demand(work.batch * mean(prompt_flops(config, length) for length in lengths), weights, 0)
    price = cost(config, work.contexts, model.dtype.itemsize)
    flops = price.inference_flops_per_token * work.tokens
    if work.kind == "prefill":
        flops = prompt_flops(config, work.prompt)
        kept = price.cache_bytes_per_token * work.prompt + price.state_bytes
    else:
        # the first token comes from the prompt; the steps after it see prompt + 1 to prompt + new_tokens - 1 keys
        seen = work.prompt + work.new_tokens / 2
        kept = work.batch * (price.cache_bytes_per_token * seen + price.state_bytes)
    return Demand(flops, weights, kept)


def prompt_flops(config: DecoderConfig, length: int) -> float:
    """FLOPs of reading a text and making the logits of its last token."""
    price = cost(config, length)
    return price.inference_flops_per_token * length - price.head_flops_per_token * (length - 1)


@torch.inference_mode()
def read_bytes(model: PreTrainedModel) -> int:
    """Bytes of weights that one token reads: those of every module that it runs, and one row of each embedding.

    What a model leaves out (a dropped path) is not read; a head tied to the embedding is read whole, once.
    """
    called: list[nn.Module] = []
    hooks = [module.register_forward_pre_hook(lambda module, _: called.append(module)) for module in model.modules()]
    try:
        model(torch.zeros(1, 1, dtype=torch.long, device=model.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    found: dict[int, int] = {}
    for module in called:
        for key, size in own_bytes(module).items():
            read = size // module.num_embeddings if isinstance(module, nn.Embedding) else size
            found[key] = max(found.get(key, 0), read)
    return sum(found.values())
