"""Whole texts in windows: the harness's own windows, every token once, and the plainest sum of log p."""

import math

import pytest
import torch
from helpers import Case, build_model
from small_checkpoints import CONTEXT, model_of, tokenizer

from smallgpt.evaluation.text_likelihood import Reader, windows
from smallgpt.inference.weight_formats import for_inference

TEXTS = ["Once upon a time, ", "naïve café", "x" * (2 * CONTEXT + 7), "y", "One fine day. " * 14, "<|endoftext|> too"]


def test_windows_are_the_harnesss() -> None:
    harness = pytest.importorskip("lm_eval.utils")
    for length in (1, 2, 7, 32):
        for tokens in (0, 1, 2, 6, 7, 8, 13, 14, 15, 31, 32, 33, 100):
            ids = list(range(1, tokens + 1))
            theirs = harness.get_rolling_token_windows(ids, 0, length, 1)
            expected = [tuple(map(tuple, harness.make_disjoint_window(pair))) for pair in theirs]
            found = list(windows(ids, 0, length))
            assert [(each.context, each.continuation) for each in found] == expected
            assert [token for each in found for token in each.continuation] == ids


@pytest.mark.parametrize("quantize", ["none", "bf16", "int8_weight", "int8_dynamic"])
@pytest.mark.parametrize("variant", ["gpt", "lineargpt"])
def test_a_text_is_as_likely_as_its_tokens(variant: str, quantize: str) -> None:
    model = for_inference(model_of(Case(variant, "modern")), quantize)
    reader = Reader(model, tokenizer())
    found = reader.likelihood_of_texts(TEXTS)
    assert [text.bytes for text in found] == [text.tokens for text in found] == [len(t.encode()) for t in TEXTS]
    exact = {"none": 1e-4, "bf16": 0.02, "int8_weight": 0.02, "int8_dynamic": 0.02}[quantize]
    for text, record in zip(TEXTS, found, strict=True):
        assert record.loglikelihood == pytest.approx(plain(model, reader, text), rel=exact)


@torch.inference_mode()
def plain(model: torch.nn.Module, reader: Reader, text: str) -> float:
    """One window at a time, all of its logits."""
    total = 0.0
    for window in windows(reader.encode(text), reader.start, CONTEXT):
        ids = torch.tensor([window.context + window.continuation])
        logp_TV = model(ids[:, :-1], use_cache=False).logits[0].float().log_softmax(-1)
        scored = logp_TV[-len(window.continuation) :].gather(1, ids[0, -len(window.continuation) :, None])
        total += float(scored.double().sum())
    assert math.isfinite(total)
    return total


def test_the_context_is_the_models() -> None:
    assert Reader(build_model(Case("gpt")), tokenizer()).max_length == 32
