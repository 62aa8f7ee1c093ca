"""Check of an exported graph against the model it was made from."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray as Array

from smallgpt.errors import UserError
from smallgpt.inference.onnx_engine import OnnxEngine
from smallgpt.models.decoder import Decoder

TOLERANCE = 1e-4
"""Largest difference of logits, relative to the largest logit."""
PROMPT, GREEDY = 12, 64  # tokens, as far as the context has room


def verify_onnx(model: Decoder, folder: Path, exact: bool) -> dict[str, Any]:
    """Compares a graph's logits and greedy text with the model's.

    A prompt is read at once, in two pieces and padded in a batch, then tokens one by one.

    Args:
        exact: the graph must do what the model does; else it is measured how near it comes.

    Raises:
        UserError: the graph gives something else.
    """
    engine = OnnxEngine(folder, torch.get_num_threads())
    prompt = random_tokens(min(PROMPT, model.config.block_size // 2), engine.tokenizer.get_vocab_size())
    steps = min(GREEDY, model.config.block_size - len(prompt))
    text = greedy_of_model(model, prompt, steps)
    expected_LV = logits_of_model(model, text)
    tolerance = TOLERANCE * float(np.abs(expected_LV).max())

    whole_LV = padded_logits(engine, [text])[0]
    pieces_LV = in_pieces(engine, text, len(prompt))
    difference = float(max(np.abs(found - expected_LV).max() for found in (whole_LV, pieces_LV)))
    greedy = greedy_of_engine(engine, prompt, steps)
    answers = slice(len(prompt) - 1, len(text) - 1)
    equal = pieces_LV[answers].argmax(-1) == expected_LV[answers].argmax(-1)
    if exact:
        short = prompt[len(prompt) // 2 :]
        batch_BTV = padded_logits(engine, [short, prompt])
        alone = logits_of_model(model, short), expected_LV[: len(prompt)]
        padded = max(
            float(np.abs(found[len(found) - len(one) :] - one).max())
            for found, one in zip(batch_BTV, alone, strict=True)
        )
        difference = max(difference, padded)
        if not difference <= tolerance:
            raise UserError(f"format=onnx: the graph's logits differ by {difference:.2g}, more than {tolerance:.2g}")
        if greedy != text and not is_tie(expected_LV, text, greedy, tolerance):
            raise UserError("format=onnx: the graph's greedy text is not the checkpoint's")
    return {
        "largest_logit_difference": difference,
        "relative_logit_difference": difference / float(np.abs(expected_LV).max()),
        "same_greedy_text": greedy == text,
        "equal_greedy_tokens": float(equal.mean()),
    }


def random_tokens(length: int, vocabulary: int) -> list[int]:
    """Random tokens, the same each time."""
    return torch.randint(vocabulary, (length,), generator=torch.Generator().manual_seed(0)).tolist()


@torch.inference_mode()
def logits_of_model(model: Decoder, ids: list[int]) -> Array:
    """Logits of a text in the model, (L, V)."""
    return model(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()


def greedy_of_model(model: Decoder, ids: list[int], steps: int) -> list[int]:
    """Prompt and greedy continuation of a model, without a cache and whatever ends a document."""
    text = list(ids)
    for _ in range(steps):
        text.append(int(logits_of_model(model, text)[-1].argmax()))
    return text


def greedy_of_engine(engine: OnnxEngine, ids: list[int], steps: int) -> list[int]:
    """Prompt and greedy continuation of a graph, with its cache."""
    text, new, cache = list(ids), list(ids), engine.empty_cache(1)
    for _ in range(steps):
        logits_BTV, cache = engine.forward(np.array([new]), np.ones((1, len(text)), np.int64), cache)
        new = [int(logits_BTV[0, -1].argmax())]
        text += new
    return text


def padded_logits(engine: OnnxEngine, texts: list[list[int]]) -> Array:
    """Logits of texts side by side, the shorter ones padded on the left."""
    longest = max(len(text) for text in texts)
    ids = np.array([[0] * (longest - len(text)) + text for text in texts])
    mask = np.array([[0] * (longest - len(text)) + [1] * len(text) for text in texts])
    return engine.forward(ids, mask, engine.empty_cache(len(texts)))[0]


def in_pieces(engine: OnnxEngine, text: list[int], prompt: int) -> Array:
    """Logits of a text whose prompt is read in two pieces and whose other tokens come one by one."""
    cache, parts = engine.empty_cache(1), []
    ends = [prompt // 2, *range(prompt, len(text) + 1)] if prompt > 1 else list(range(1, len(text) + 1))
    for start, end in zip([0, *ends], ends, strict=False):
        logits_BTV, cache = engine.forward(np.array([text[start:end]]), np.ones((1, end), np.int64), cache)
        parts.append(logits_BTV[0])
    return np.concatenate(parts)


def is_tie(expected_LV: Array, one: list[int], other: list[int], tolerance: float) -> bool:
    """Whether the model finds both tokens as likely where two texts part, as far as rounding can tell."""
    place = next(i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
    return abs(expected_LV[place - 1, one[place]] - expected_LV[place - 1, other[place]]) <= 2 * tolerance
