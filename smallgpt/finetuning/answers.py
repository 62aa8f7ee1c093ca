"""Answers of a model to prompts: texts that it writes, and which of several texts it finds likeliest."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from smallgpt.evaluation.scorer import Request, Scorer
from smallgpt.inference.generate import arguments
from smallgpt.inference.steps import decoding_steps
from smallgpt.settings import Generation

BATCH = 32


def written_answers(
    model: PreTrainedModel,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    most_tokens: int,
    stop: tuple[str, ...] = (),
) -> list[str]:
    """Greedy continuation of each prompt, given as tokens, up to the end of text, a stop text or so many tokens."""
    texts = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]), reverse=True)
    settings = Generation(temperature=0, max_new_tokens=most_tokens, stop=stop)
    pad, was_training = tokenizer.eos_token_id, model.training
    steps = decoding_steps(model)
    model.eval()
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        width = len(prompts[places[0]])
        rows = [list(prompts[place]) for place in places]
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=model.device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=model.device)
        how = arguments(model, tokenizer, settings, most_tokens, steps=steps)
        with torch.inference_mode():
            made = model.generate(ids, attention_mask=mask, **how)  # ty: ignore[not-callable]  # of GenerationMixin
        for place, row in zip(places, made[:, width:].tolist(), strict=True):
            texts[place] = until(str(tokenizer.decode(row, skip_special_tokens=True)), stop)
    model.train(was_training)
    return texts


def until(text: str, stop: Sequence[str]) -> str:
    """A text up to the first of the stop texts, where it has something before it, without white space around it."""
    text = text.lstrip()
    for end in stop:
        text = text.partition(end)[0]
    return text.strip()


def option_probabilities(
    model: Any, prompts: Sequence[Sequence[int]], options: Sequence[Sequence[int]], context: int
) -> torch.Tensor:
    """Probability of each option after each prompt, among the options alone, (prompts, options)."""
    was_training = model.training
    requests = [Request(tuple(prompt), tuple(option)) for prompt in prompts for option in options]
    scores = Scorer(model, context).score(requests)
    model.train(was_training)
    logp = torch.tensor([score.loglikelihood for score in scores], dtype=torch.float64)
    return torch.softmax(logp.view(len(prompts), len(options)), dim=-1)
