"""Decoding on a GPU: the ids of the CPU, recorded steps that serve again, and no waiting between tokens."""

import copy
from functools import partial
from importlib.util import find_spec

import pytest
import torch
from helpers import CASES, Case, build_model
from on_gpu import NEEDS_GPU
from test_decoding import MASK, NEW, PROMPTS, distance, greedy, sharp
from transformers import GenerationConfig, LogitsProcessorList, MaxLengthCriteria, StoppingCriteriaList

from smallgpt.inference.decoding import TOKENS_APART, decode
from smallgpt.inference.steps import FixedSteps, decoding_steps
from smallgpt.inference.weight_formats import for_inference, weight_bytes
from smallgpt.machine.compiler import missing_for_compiling
from smallgpt.speed.measured_models import MeasuredModel
from smallgpt.speed.roofline import Work

pytestmark = list(NEEDS_GPU)
CUDA = torch.device("cuda")


def on_the_gpu(model, compiled=None):
    """The model there, and a decoding with steps of its own that serve again."""
    moved = for_inference(copy.deepcopy(model).cuda())
    return moved, partial(decode, steps=decoding_steps(moved, compiled))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_ids_are_those_of_the_cpu(case):
    model = sharp(build_model(case))
    whole = greedy(model, PROMPTS, attention_mask=MASK)
    moved, decoded = on_the_gpu(model)
    for _ in range(2):  # the second time on the recorded steps
        made = greedy(moved, PROMPTS.cuda(), attention_mask=MASK.cuda(), custom_generate=decoded)
        same = sum(a == b for ours, theirs in zip(made, whole, strict=True) for a, b in zip(ours, theirs, strict=True))
        assert same >= 0.9 * 2 * NEW  # a close call may fall the other way, and what follows with it


def test_logits_of_recorded_steps_are_those_of_the_cpu():
    model = sharp(build_model(Case("canon", "modern")))
    moved, _ = on_the_gpu(model)
    steps = FixedSteps(moved)
    with torch.inference_mode():
        for prompt in (PROMPTS[:1, :3], PROMPTS[:1, :4]):  # of one shape: the cache serves again
            steps.begin(None, 5)
            steps.logits(prompt.cuda(), prompt.shape[1])
            made = steps.logits(PROMPTS[:1, prompt.shape[1], None].cuda(), prompt.shape[1] + 1)
            whole = model(PROMPTS[:1, : prompt.shape[1] + 1]).logits[:, -1]
            torch.testing.assert_close(made.cpu(), whole, atol=2e-3, rtol=2e-3)
    assert len(steps.recorded) == 1


def test_compiled_ids_are_those_of_eager_pytorch():
    if missing := missing_for_compiling(CUDA):
        pytest.skip(missing)
    model = sharp(build_model(Case("lineargpt", "modern")))
    moved, decoded = on_the_gpu(model, compiled=True)
    eager = partial(decode, steps=decoding_steps(moved, False))
    ids = PROMPTS[:1].cuda()
    assert greedy(moved, ids, custom_generate=decoded) == greedy(moved, ids, custom_generate=eager)


@pytest.mark.parametrize("sampled", [False, True])
def test_tokens_are_made_without_waiting_for_each(sampled):
    moved, _ = on_the_gpu(sharp(build_model(Case("gpt", "modern"))))
    steps, waits = decoding_steps(moved), []

    class Counting:
        """Steps that let every wait between two tokens of a group fail."""

        def __getattr__(self, name):
            return getattr(steps, name)

        def logits(self, ids, length):
            made = length - PROMPTS.shape[1]
            apart = TOKENS_APART["cuda"]
            between = 1 < made % apart < apart - 1 and made < NEW - 1
            torch.cuda.set_sync_debug_mode("error" if between else "default")
            waits.append(made)
            return steps.logits(ids, length)

    ids = PROMPTS[:1].cuda()
    longest = ids.shape[1] + NEW
    config = GenerationConfig(max_new_tokens=NEW, do_sample=sampled, pad_token_id=0)
    config._pad_token_tensor = torch.tensor(0, device="cuda")
    until = StoppingCriteriaList([MaxLengthCriteria(longest)])
    try:
        made = decode(moved, ids, LogitsProcessorList(), until, config, steps=Counting())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert made.shape[1] == longest and waits == list(range(NEW))


def test_memory_and_time_of_a_token_are_measured():
    subject = MeasuredModel("model", build_model(Case("gpt", "modern")).cuda(), "bf16")
    work = Work("decode", 8, 8, 2)
    subject.token_times(work)
    times = subject.token_times(work)
    assert times == sorted(times) and 0 < times[-1] < 10


@pytest.mark.parametrize("quantize", ["int8_weight", "int4"])
def test_fewer_bits_give_nearly_the_same_logits(quantize):
    if find_spec("torchao") is None:
        pytest.skip("torchao is not installed")
    model = build_model(Case("gpt", "modern")).to("cuda", torch.bfloat16)
    fewer = for_inference(copy.deepcopy(model), quantize)
    least, most = {"int8_weight": (5e-3, 0.1), "int4": (0.05, 0.5)}[quantize]  # int4 as emulated on a CPU: 0.25
    assert least <= distance(fewer, model) < most and weight_bytes(fewer) < 0.8 * weight_bytes(model)
