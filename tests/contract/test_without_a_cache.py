"""A variant that says it cannot cache is scored, continued, priced and exported without; a faulty cache is found."""

from functools import partial

import cheats
import pytest
import torch
from helpers import SMALL
from small_checkpoints import tokenizer
from transformers import GenerationConfig

from smallgpt.contract.check import check_contract, with_noise
from smallgpt.errors import UserError
from smallgpt.evaluation.scorer import Request, Scorer
from smallgpt.export.verify_hf import refuse_other
from smallgpt.inference.decoding import decode
from smallgpt.models.cost import cost
from smallgpt.speed.roofline import Work, demand

PROMPTS = torch.tensor([[5, 9, 3, 7, 2], [0, 0, 4, 8, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return with_noise(cheats.Uncached(cheats.UncachedConfig(**SMALL | {"vocab_size": 257})).eval())


def continued(model, ids, new):
    """The likeliest tokens, one after the other, from the whole text each time."""
    for _ in range(new):
        ids = torch.cat((ids, model(ids, use_cache=False).logits[:, -1:].argmax(-1)), dim=1)
    return ids


def test_it_keeps_the_contract_and_costs_no_cache(model):
    check_contract(type(model), model.config)
    assert cost(model.config).cache_bytes_per_token == 0 and model(PROMPTS, use_cache=True).past_key_values is None


@torch.no_grad()
def test_it_generates_as_from_the_whole_text(model):
    alone = [continued(model, PROMPTS[:1], 8)[0, 5:].tolist(), continued(model, PROMPTS[1:, 2:], 8)[0, 3:].tolist()]
    assert len({*alone[0], *alone[1]}) > 4
    config = GenerationConfig(max_new_tokens=8, pad_token_id=0)
    for how in ({}, {"use_cache": True}, {"custom_generate": partial(decode)}):
        made = model.generate(PROMPTS, attention_mask=MASK, generation_config=config, **how)
        assert made[:, 5:].tolist() == alone
    beams = [
        model.generate(PROMPTS[:1], num_beams=3, max_new_tokens=8, pad_token_id=0, use_cache=use).tolist()
        for use in (True, False)
    ]
    assert beams[0] == beams[1]


@torch.no_grad()
def test_contexts_are_shared_by_no_continuations(model):
    requests = [Request((3, 1, 4, 1, 5), option) for option in ((9,), (2, 6), (5, 3, 5))]
    scores = Scorer(model, model.config.block_size).score(requests)
    for request, score in zip(requests, scores, strict=True):
        ids = torch.tensor([request.context + request.continuation])
        logp_TV = model(ids, use_cache=False).logits[0].log_softmax(-1)
        right = sum(float(logp_TV[4 + i, token]) for i, token in enumerate(request.continuation))
        assert score.loglikelihood == pytest.approx(right, abs=1e-4)


def test_each_token_is_priced_as_the_whole_text(model):
    parts = model.config.layout()
    head, prompt, new = parts[-1].flops, 7, 6

    def read(length):
        each = sum(part.flops + 4 * part.attention_width * (length + 1) / 2 for part in parts) - head
        return length * each + head

    needs = demand(model, Work("decode", prompt, new, batch=3), 1000)
    steps = range(prompt + 1, prompt + new)
    assert needs.flops == pytest.approx(3 * sum(map(read, steps)) / len(steps), rel=1e-12) and needs.bytes == 1000


def test_on_the_command_line(cli, model):
    model.save_pretrained("model")
    words = tokenizer()
    words.save_pretrained("model")
    settings = ["generation.temperature=0", "generation.max_new_tokens=8", "prompt=[ab,a cat sat]"]
    done = cli("task=generate", "checkpoint=model", "hydra.run.dir=out", *settings)
    assert done.code == 0, done.err
    for prompt, sample in zip(["ab", "a cat sat"], done.result["samples"], strict=True):
        ids = continued(model, torch.tensor([words(prompt)["input_ids"]]), 8)[0].tolist()
        end = ids.index(words.eos_token_id) if words.eos_token_id in ids else len(ids)  # a random model may end a text
        assert sample == words.decode(ids[:end], skip_special_tokens=True)
    message = "format=onnx: a model of type uncached has no cache, which the graph needs; use format=hf"
    assert cli.refused("task=export", "checkpoint=model", "format=onnx") == message
    assert "has no cache to decode with" in cli.refused("task=generate", "checkpoint=model", "compile=true")


@torch.inference_mode()
def test_an_export_is_not_verified_by_its_own_faulty_cache():
    """The same fault in the checkpoint and in the folder: both would give the same text."""
    model = cheats.variant(forward=cheats.over_blocks(cheats.previous_token))(cheats.CheatConfig(**SMALL)).eval()
    with_noise(model)
    text = model.generate(PROMPTS[:1], max_new_tokens=8, pad_token_id=0)
    found = {"logits": model(PROMPTS[:1], use_cache=False).logits, "text": text, "decoded": tokenizer().decode(text[0])}
    pieces, cache = [], None
    for piece in text.split([5] + [1] * 8, dim=1):
        read = model(piece, past_key_values=cache, use_cache=True)
        pieces.append(read.logits)
        cache = read.past_key_values
    with pytest.raises(UserError, match=r"^format=hf: the folder's logits differ by [\d.]+ with a cache$"):
        refuse_other(model, tokenizer(), found | {"pieces": torch.cat(pieces, 1)})
    whole = {"text": continued(model, PROMPTS[:1], 8)}
    right = found | whole | {"decoded": tokenizer().decode(whole["text"][0])}
    refuse_other(model, tokenizer(), right | {"pieces": model(whole["text"], use_cache=False).logits})
