"""Decoding token by token: what `generate` does with a model of ours, without what it does for every other model."""

from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from smallgpt.inference.steps import Steps
from smallgpt.packages import private


@torch.inference_mode()
def decode(
    model: PreTrainedModel,
    input_ids: Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    streamer: BaseStreamer | None = None,
    steps: Steps | None = None,
    **model_kwargs: Any,
) -> Tensor:
    """Decodes greedily or by sampling as a `custom_generate` of `generate`: the same ids, (B, prompt and new tokens).

    Processors, criteria and settings are the library's own.

    Args:
        input_ids: (B, T), padded on the left.
        streamer, steps: to be bound by the caller, since the library passes a function none of its own.
        model_kwargs: of which `attention_mask` (B, T) is used, 0 where `input_ids` is padding.
    """
    B, T = input_ids.shape
    longest = int(stopping_criteria.max_length or T + (generation_config.max_new_tokens or 0))
    steps = steps or Steps(model)
    steps.begin(model_kwargs.get("attention_mask"), longest)
    with private("transformers"):
        pad = generation_config._pad_token_tensor
    ends = any(hasattr(criterion, "eos_token_id") for criterion in stopping_criteria)
    ids = input_ids.new_empty(B, longest)
    ids[:, :T] = input_ids
    unfinished = torch.ones(B, dtype=torch.bool, device=ids.device)
    now = input_ids
    for length in range(T, longest):
        so_far: Any = ids[:, :length]
        scores = logits_processor(so_far, steps.logits(now, length).float())
        if generation_config.do_sample:
            token = torch.multinomial(torch.softmax(scores, dim=-1), 1)[:, 0]
        else:
            token = scores.max(dim=-1).indices  # argmax takes three times as long
        if ends:
            token = torch.where(unfinished, token, pad)  # ty: ignore[no-matching-overload]  # pad is set where texts end
        ids[:, length] = token
        if streamer is not None:
            streamer.put(token.cpu())
        unfinished = unfinished & ~stopping_criteria(ids[:, : length + 1], None)
        if not unfinished.any():
            break
        now = token[:, None]
    steps.end()
    if streamer is not None:
        streamer.end()
    return ids[:, : length + 1]
