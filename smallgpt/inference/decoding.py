"""Decoding token by token: what `generate` does with a model of ours, without what it does for every other model."""

from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from smallgpt.inference.steps import Steps, decoding_steps
from smallgpt.packages import private

TOKENS_APART = {"cpu": 1, "cuda": 16}  # between two looks at what is made; a GPU waits for each of them


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
    steps = steps or decoding_steps(model)
    steps.begin(model_kwargs.get("attention_mask"), longest)
    with private("transformers"):
        pad = generation_config._pad_token_tensor
    ends = any(hasattr(criterion, "eos_token_id") for criterion in stopping_criteria)
    ids = input_ids.new_empty(B, longest)
    ids[:, :T] = input_ids
    unfinished = torch.ones(B, dtype=torch.bool, device=ids.device)
    made_B = torch.zeros(B, dtype=torch.long, device=ids.device)  # tokens of each sequence, its end included
    apart = TOKENS_APART.get(ids.device.type, 1)
    shown, now = T, input_ids
    for length in range(T, longest):
        so_far: Any = ids[:, :length]
        scores = logits_processor(so_far, steps.logits(now, length).float())
        # the indices of a maximum: argmax takes three times as long
        token = drawn(torch.softmax(scores, -1)) if generation_config.do_sample else scores.max(-1).indices
        if ends:
            token = torch.where(unfinished, token, pad)  # ty: ignore[no-matching-overload]  # pad is set where texts end
        ids[:, length] = token
        made_B += unfinished
        unfinished = unfinished & ~stopping_criteria(ids[:, : length + 1], None)
        now = token[:, None]
        if (length + 1 - T) % apart and length + 1 < longest:
            continue
        if streamer is not None:
            end = T + int(made_B.max())
            for column_B in ids[:, shown:end].T.cpu():
                streamer.put(column_B)
            shown = end
        if not unfinished.any():
            break
    steps.end()
    if streamer is not None:
        streamer.end()
    return ids[:, : T + int(made_B.max())]


def drawn(share_BV: Tensor) -> Tensor:
    """Token of each sequence, drawn with the given shares: the bits of `torch.multinomial`, which waits for a GPU."""
    return (share_BV / torch.empty_like(share_BV).exponential_()).max(dim=-1).indices
