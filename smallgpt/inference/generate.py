"""Continuing prompts with a model: the library's `generate` with our settings and a seed."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
    StopStringCriteria,
)
from transformers.generation.streamers import BaseStreamer

from smallgpt.data.encoding import encode_prompt
from smallgpt.errors import UserError
from smallgpt.inference.decoding import decode
from smallgpt.inference.onnx_engine import until_stop
from smallgpt.inference.steps import Steps
from smallgpt.machine.memory import free_bytes, refuse_too_large
from smallgpt.models.cost import sequence_bytes
from smallgpt.models.decoder import Decoder
from smallgpt.settings import Generation


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    settings: Generation,
    seed: int,
    streamer: BaseStreamer | None = None,
    steps: Steps | None = None,
) -> list[str]:
    """Continues all prompts as one batch and returns each of them with its continuation.

    Samples depend on what else is in the batch. An empty prompt starts a new document. Generation ends with the
    document, at a text of `settings.stop`, after `max_new_tokens`, or where the model's context is full. The same seed
    gives the same texts.

    Args:
        streamer: is given the tokens of a single prompt as they come.
        steps: the forward passes, where they are not PyTorch's own.

    Raises:
        UserError: a prompt leaves no room in the model's context, or all of them do not fit in memory.
    """
    ids = [tokens_of(model, tokenizer, prompt, settings) for prompt in prompts]
    length = max(map(len, ids))
    limit = getattr(model.config, "max_position_embeddings", None)
    new_tokens = settings.max_new_tokens if limit is None else min(settings.max_new_tokens, limit - length)
    each = sequence_bytes(model.config, length, length + new_tokens, model.dtype.itemsize)
    each = None if each is None else each * settings.num_beams
    refuse_too_large(f"prompt: a batch of {len(ids)}", len(ids), each, free_bytes(model.device))
    pad = tokenizer.eos_token_id
    input_ids = torch.tensor([[pad] * (length - len(row)) + row for row in ids], device=model.device)
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in ids], device=model.device)
    how = arguments(model, tokenizer, settings, new_tokens, streamer, steps)
    was_training = model.training
    model.eval()
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        output = model.generate(input_ids, attention_mask=mask, **how)  # ty: ignore[not-callable]  # of GenerationMixin
    model.train(was_training)
    texts = []
    for row, made in zip(ids, output.tolist(), strict=True):
        prompt, whole = (str(tokenizer.decode(some, skip_special_tokens=True)) for some in (row, row + made[length:]))
        texts.append(prompt + until_stop(whole[len(prompt) :], settings.stop))
    return texts


def tokens_of(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, settings: Generation
) -> list[int]:
    """Encodes a prompt as at least one token that leaves room for another. Raises UserError where there is no room."""
    ids = encode_prompt(tokenizer, prompt)
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is None or len(ids) < limit:
        return ids
    if settings.window:
        return ids[-max(1, limit - settings.max_new_tokens) :]
    raise UserError(
        f"prompt: {len(ids)} tokens; the model's context has {limit}, so use at most {limit - 1}, "
        "or generation.window=true, which drops its beginning"
    )


def arguments(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: Generation,
    new_tokens: int,
    streamer: BaseStreamer | None = None,
    steps: Steps | None = None,
) -> dict[str, Any]:
    """Translates our settings to arguments of the library's `generate`; temperature 0 is greedy decoding."""
    sampling = {}
    if settings.temperature > 0:
        sampling = {
            "do_sample": True,
            "temperature": settings.temperature,
            "top_k": settings.top_k or 0,
            "top_p": settings.top_p or 1.0,
        }
    config = GenerationConfig(
        max_new_tokens=new_tokens,
        num_beams=settings.num_beams,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        **sampling,
    )
    found: dict[str, Any] = {"generation_config": config, "streamer": streamer}
    if len(tokenizer) < model.config.vocab_size:
        found["logits_processor"] = LogitsProcessorList([KnownTokens(len(tokenizer))])
    if settings.stop:
        found["stopping_criteria"] = StoppingCriteriaList([StopStringCriteria(tokenizer, list(settings.stop))])
    if isinstance(model, Decoder) and settings.num_beams == 1:
        found["custom_generate"] = partial(decode, streamer=streamer, steps=steps)
    return found


class KnownTokens(LogitsProcessor):
    """Logits processor that rules out the rows which pad the vocabulary, since they stand for no text.

    The library's suppress_tokens looks each of them up at every token.
    """

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores[:, self.number :] = -torch.inf
        return scores
