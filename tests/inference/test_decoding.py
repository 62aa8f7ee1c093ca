"""The same greedy ids however they are made, for every variant; sampling with a seed repeats."""

import copy
import importlib.util
from functools import partial

import pytest
import torch
from helpers import CASES, Case, build_model
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.fx.experimental.proxy_tensor import make_fx
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer

from smallgpt import packages
from smallgpt.errors import UserError
from smallgpt.inference import decoding
from smallgpt.inference import steps as steps_module
from smallgpt.inference.batched_paths import BatchedPaths
from smallgpt.inference.decoding import decode
from smallgpt.inference.gpu_weights import ON_GPU, group_of, quantize_on_gpu, stored_bytes
from smallgpt.inference.steps import CompiledSteps, FixedSteps
from smallgpt.inference.weight_formats import MAKE, check_quantize, for_inference, usual_format, weight_bytes
from smallgpt.machine.compiler import missing_for_compiling

PROMPTS = torch.tensor([[5, 9, 3, 7, 2], [0, 0, 4, 8, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])
NEW = 20
COMPILE = torch.compile


needs_a_compiler = pytest.mark.skipif(bool(missing_for_compiling(torch.device("cpu"))), reason="no C++ compiler")
TWO_OF_FOUR_PATHS = {"n_path": 4, "active_paths": [2, 0], "bias": True, "norm": "layernorm"}


SHAPES = [Case("gpt", "modern"), Case("canon", "modern"), Case("parallelgpt", "modern", TWO_OF_FOUR_PATHS)]


SELDOM = [case for case in CASES if (case.block == "gpt2" and case.variant != "gpt") or "relu2" in str(case)]


@pytest.fixture(
    params=[
        *[pytest.param(case, marks=pytest.mark.slow) if case in SELDOM else case for case in CASES],
        Case("parallelgpt", "modern", TWO_OF_FOUR_PATHS),
    ],
    ids=str,
)
def model(request):
    return sharp(build_model(request.param))


def sharp(model):
    """Sharper than at the start of training, so that the best token is no close call."""
    for weight in model.parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=0.2)
        else:  # no two gains, biases or shares of paths are the same
            weight.data += 0.2 * torch.randn_like(weight)
    return model


def greedy(model, ids, **given):
    config = GenerationConfig(max_new_tokens=NEW, pad_token_id=0, **given.pop("config", {}))
    return model.generate(ids, generation_config=config, **given)[:, ids.shape[1] :].tolist()


def test_greedy_ids_are_the_same_cached_uncached_in_a_batch_and_packed(model):
    uncached = [greedy(model, PROMPTS[:1], use_cache=False), greedy(model, PROMPTS[1:, 2:], use_cache=False)]
    one, other = uncached[0][0], uncached[1][0]
    assert len(set(one + other)) > 1
    assert greedy(model, PROMPTS[:1]) == [one]
    assert greedy(model, PROMPTS[:1], custom_generate=decode) == [one]
    assert greedy(model, PROMPTS, attention_mask=MASK, custom_generate=decode) == [one, other]
    assert greedy(for_inference(copy.deepcopy(model)), PROMPTS, attention_mask=MASK, custom_generate=decode) == [
        one,
        other,
    ]


def test_greedy_ids_are_the_same_in_steps_of_one_shape(model):
    whole = [greedy(model, PROMPTS[:1]), greedy(model, PROMPTS, attention_mask=MASK)]
    decoded = partial(decode, steps=FixedSteps(model))
    for _ in range(2):  # the second time the steps have seen other sequences
        assert greedy(model, PROMPTS[:1], custom_generate=decoded) == whole[0]
        assert greedy(model, PROMPTS, attention_mask=MASK, custom_generate=decoded) == whole[1]


class Replayed:
    """Stands in for a CUDA graph: the operations that were recorded, on the memory of then, without any Python."""

    def __init__(self, function, inputs, state):
        before = [each.clone() for each in state]
        self.inputs = [each.clone() for each in inputs]
        self.operations = make_fx(lambda *given: function(*given))(*self.inputs)
        for place, value in zip(state, before, strict=True):
            place.copy_(value)
        self.output = None

    def __call__(self, *inputs):
        for place, given in zip(self.inputs, inputs, strict=True):
            assert place.shape == given.shape
            place.copy_(given)
        made = self.operations(*self.inputs)
        self.output = made.clone() if self.output is None else self.output.copy_(made)
        return self.output


@pytest.mark.parametrize("case", [SHAPES[1], pytest.param(SHAPES[2], marks=pytest.mark.slow)], ids=str)
def test_greedy_ids_are_the_same_in_recorded_steps_that_serve_again(case, monkeypatch):
    model = sharp(build_model(case, n_layer=1))
    monkeypatch.setattr(steps_module, "RecordedFunction", Replayed)
    whole = [greedy(model, PROMPTS[:1]), greedy(model, PROMPTS, attention_mask=MASK)]
    steps = FixedSteps(model)
    steps.records = True
    decoded = partial(decode, steps=steps)
    for _ in range(2):
        assert greedy(model, PROMPTS[:1], custom_generate=decoded) == whole[0]
        assert greedy(model, PROMPTS, attention_mask=MASK, custom_generate=decoded) == whole[1]
    assert len(steps.recorded) == 2


@pytest.mark.parametrize("model", SHAPES[:1], indirect=True, ids=str)
def test_recorded_steps_make_room_for_others_and_are_forgotten(model, monkeypatch):
    monkeypatch.setattr(steps_module, "RecordedFunction", lambda function, inputs, state: function)
    monkeypatch.setattr(steps_module, "MOST_RECORDED", 2)
    steps = FixedSteps(model)
    steps.records = True
    decoded = partial(decode, steps=steps)
    for sequences in (1, 2, 1, 3):
        ids = PROMPTS[[0] * sequences]
        assert greedy(model, ids, custom_generate=decoded) == sequences * greedy(model, PROMPTS[:1])
    assert [sequences for sequences, _ in steps.recorded] == [1, 3]  # what was in use first has made room
    steps.forget()
    assert greedy(model, PROMPTS, attention_mask=MASK, custom_generate=decoded) and len(steps.recorded) == 1


class Shown(BaseStreamer):
    """Streamer that keeps what it is given."""

    def __init__(self):
        self.tokens = []

    def put(self, value):
        self.tokens += value.flatten().tolist()

    def end(self):
        self.tokens.append("end")


@pytest.mark.parametrize("apart", [1, 3, 16, 64])
@pytest.mark.parametrize("model", SHAPES[:1], indirect=True, ids=str)
def test_what_is_made_and_shown_is_the_same_however_seldom_it_is_looked_at(model, monkeypatch, apart):
    monkeypatch.setattr(decoding, "TOKENS_APART", {"cpu": apart})
    whole = greedy(model, PROMPTS[:1])[0]
    for stop in (whole[4], 95):  # in the middle, and a token that never comes
        given = {"config": {"eos_token_id": stop}}
        shown = Shown()
        made = greedy(model, PROMPTS[:1], custom_generate=partial(decode, streamer=shown), **given)
        assert made == greedy(model, PROMPTS[:1], **given)
        assert shown.tokens == [*made[0], "end"]
    given = {"attention_mask": MASK, "config": {"eos_token_id": whole[4]}}
    assert greedy(model, PROMPTS, custom_generate=decode, **given) == greedy(model, PROMPTS, **given)


@pytest.mark.slow
@needs_a_compiler
def test_greedy_ids_are_the_same_compiled(model):
    whole = greedy(model, PROMPTS, attention_mask=MASK)
    packed = for_inference(model, compiled=True)
    assert greedy(packed, PROMPTS, attention_mask=MASK, custom_generate=compiled(packed)) == whole


@pytest.mark.slow
@needs_a_compiler
@pytest.mark.parametrize(("quantize", "equal"), [("none", NEW), ("int8_weight", 5)])
def test_one_is_compiled(quantize, equal):
    model = for_inference(sharp(build_model(Case("lineargpt"))), quantize)
    whole = greedy(model, PROMPTS[:1], custom_generate=decode)
    made = greedy(model, PROMPTS[:1], custom_generate=compiled(model))
    assert made[0][:equal] == whole[0][:equal]  # bf16 is rounded at other places


@needs_a_compiler
@pytest.mark.parametrize(
    "model", [pytest.param(SHAPES[0], marks=pytest.mark.slow), *SHAPES[1:]], indirect=True, ids=str
)
def test_it_is_compiled_once_a_shape(model, monkeypatch):
    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", lambda step, options, **given: COMPILE(step, backend=counter, **given))
    model = for_inference(model, compiled=True)
    decoded = compiled(model)
    for ids in (PROMPTS[:1], PROMPTS[1:, 2:], PROMPTS[:1, :1]):
        greedy(model, ids, custom_generate=decoded)
    assert counter.frame_count == 1
    for mask in (MASK, torch.ones_like(MASK)):
        greedy(model, PROMPTS, attention_mask=mask, custom_generate=decoded)
    assert counter.frame_count == 2
    assert not hasattr(decoded.keywords["steps"], "cache")  # the next measurement of memory begins without it


def compiled(model):
    return partial(decode, steps=CompiledSteps(model))


def test_without_a_compiler_it_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"^compile=true: no C\+\+ compiler on this machine; install g\+\+, or"):
        check_quantize("none", torch.device("cpu"), compiled=True)


@needs_a_compiler
def test_what_cannot_be_compiled_is_refused():
    cpu = torch.device("cpu")
    check_quantize("none", cpu, compiled=True)
    for quantize in ("bf16", "int8_dynamic"):
        with pytest.raises(UserError, match=rf"^compile=true: needs quantize=int8_weight or none .* {quantize}"):
            check_quantize(quantize, cpu, compiled=True)


def test_beams_find_the_same_packed(model):
    given = {"attention_mask": MASK, "config": {"num_beams": 3}}
    assert greedy(model, PROMPTS, **given) == greedy(for_inference(copy.deepcopy(model)), PROMPTS, **given)


@pytest.mark.parametrize(("width", "paths", "together"), [(64, None, True), (768, None, False), (768, [1], False)])
def test_narrow_paths_run_together_in_fp32(width, paths, together):
    case = Case("parallelgpt", "gpt2", {"n_path": 4, "active_paths": paths})
    assert isinstance(for_inference(build_model(case, n_embd=width)).transformer.backbone, BatchedPaths) == together
    assert not isinstance(for_inference(build_model(case, n_embd=width), "bf16").transformer.backbone, BatchedPaths)


def test_sampling_repeats_with_a_seed_and_is_the_librarys(model):
    def sampled(seed, **given):
        torch.manual_seed(seed)
        return greedy(model, PROMPTS[:1], config={"do_sample": True, "temperature": 0.7, "top_k": 20}, **given)

    assert sampled(1, custom_generate=decode) == sampled(1, custom_generate=decode) == sampled(1)
    assert sampled(1, custom_generate=decode) != sampled(2, custom_generate=decode)


def test_a_sequence_that_ends_is_padded_and_all_that_end_stop(model):
    whole = greedy(model, PROMPTS[:1])[0]
    end = whole[4]
    made = greedy(model, PROMPTS, attention_mask=MASK, config={"eos_token_id": end}, custom_generate=decode)
    assert made == greedy(model, PROMPTS, attention_mask=MASK, config={"eos_token_id": end})
    until = whole.index(end) + 1
    assert made[0][:until] == whole[:until] and not any(made[0][until:])


GAPS = {"none": (0, 1e-5), "bf16": (1e-3, 0.04), "int8_weight": (5e-3, 0.08), "int8_dynamic": (1e-2, 0.18)}
"""Least and largest distance of the logits from those of the model: twice what was measured of all variants."""


def distance(model, other):
    """Distance of the logits from those of another model, in their norm."""
    with torch.inference_mode():
        made, whole = (each(PROMPTS.to(each.device)).logits.float().cpu() for each in (model, other))
    return ((made - whole).norm() / whole.norm()).item()


@pytest.mark.parametrize("quantize", MAKE)
def test_fewer_bits_give_nearly_the_same_logits(model, quantize):
    gap = distance(for_inference(copy.deepcopy(model), quantize), model)
    least, most = GAPS[quantize]
    assert least <= gap < most


def test_quantized_weights_take_fewer_bytes_and_int4_is_onnx_alone():
    sizes = {quantize: weight_bytes(for_inference(build_model(CASES[0]), quantize)) for quantize in MAKE}
    assert sizes["none"] == weight_bytes(build_model(CASES[0]))
    assert sizes["none"] > sizes["int8_dynamic"] and sizes["bf16"] * 2 == sizes["none"] > sizes["int8_weight"] * 2
    with pytest.raises(
        UserError, match=r"^quantize=int4: only for task=export format=onnx; here use one of none, bf16"
    ):
        for_inference(build_model(CASES[0]), "int4")


def test_fewer_bits_on_a_gpu_need_torchao(monkeypatch):
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    for quantize in ON_GPU:
        with pytest.raises(UserError, match=rf"^quantize={quantize}: torchao is not installed; .*or quantize=bf16$"):
            check_quantize(quantize, torch.device("cuda"))
    with pytest.raises(UserError, match=r"^quantize=int8_dynamic: runs on a CPU; .*quantize=bf16 or int8_weight$"):
        check_quantize("int8_dynamic", torch.device("cuda"))


@pytest.mark.parametrize("capability", [(7, 5), (9, 0)])
def test_text_is_made_in_bf16_on_a_gpu_that_is_made_for_it_unless_told_otherwise(monkeypatch, capability):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert usual_format("none", False, cuda) == ("bf16" if capability >= (8, 0) else "none")
    assert usual_format("none", True, cuda) == usual_format("none", False, cpu) == "none"
    assert usual_format("int8_weight", True, cuda) == "int8_weight"


def test_bytes_of_torchaos_weights_are_those_of_their_parts():
    if importlib.util.find_spec("torchao") is None:
        pytest.skip("torchao is not installed")
    model = build_model(Case("gpt", "modern")).bfloat16()
    quantize_on_gpu(model, "int8_weight")  # which torchao's kernels do on a CPU too
    fc = model.transformer.backbone.h[0].mlp.c_fc
    N, K = fc.weight.shape
    assert N * K < stored_bytes(fc.weight) <= N * K + 8 * N  # and a scale for each row, in whatever type
    assert weight_bytes(model) < 0.8 * weight_bytes(build_model(Case("gpt", "modern")).bfloat16())


@pytest.mark.parametrize(("inputs", "group"), [(512, 128), (192, 64), (96, 32), (80, None)])
def test_weights_that_share_a_scale_divide_the_inputs(inputs, group):
    assert group_of(inputs) == group
