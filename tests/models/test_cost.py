"""The closed form against the real model, at the paper's sizes and at random ones."""

import pytest
import torch
from helpers import VARIANTS, Case, build_config, model_class
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from smallgpt.models.cost import cost

PAPER = {"n_layer": 8, "n_head": 8, "n_embd": 512, "block_size": 1024, "vocab_size": 50304}
LARGE = PAPER | {"n_layer": 12, "n_head": 12, "n_embd": 768}


def real_parameters(variant, config):
    with torch.device("meta"):
        return sum(p.numel() for p in model_class(variant)(config).parameters())


@pytest.mark.parametrize(
    ("variant", "size", "changes", "parameters"),
    [
        ("gpt", PAPER, {}, 77_210_112),
        ("parallelgpt", PAPER, {}, 77_735_425),
        ("lineargpt", PAPER, {}, 36_423_936),
        ("convgpt", PAPER, {"kernel_size": 1}, 36_423_936),
        ("gpt", LARGE, {}, 163_007_232),
        ("parallelgpt", LARGE, {}, 164_188_417),
        ("lineargpt", LARGE, {}, 59_293_248),
        ("convgpt", LARGE, {"kernel_size": 1}, 59_293_248),
        ("gpt", PAPER, {"tie_word_embeddings": True}, 51_454_464),
    ],
)
def test_parameters_of_the_paper(variant, size, changes, parameters):
    config = build_config(Case(variant), **size, **changes)
    assert cost(config).parameters == parameters == real_parameters(variant, config)


@pytest.mark.parametrize(("every", "millions", "head"), [(3, 70.4, 48), (4, 81.8, 96), (6, 102.5, 192)])
def test_convgpt_narrowing_less_often(every, millions, head):
    config = build_config(
        Case("convgpt"), **LARGE, kernel_size=1, downsample_position=every, downsample_frequency=every
    )
    assert cost(config).parameters / 1e6 == pytest.approx(millions, abs=0.05)
    assert config.output_width == head


@pytest.mark.parametrize(
    ("variant", "changes", "forward", "head", "training", "cache"),
    [
        ("gpt", {}, 103.95, 51.51, 330.7, 16_384),
        ("parallelgpt", {}, 105.00, 51.51, 333.9, 16_384),
        ("lineargpt", {}, 21.27, 3.22, 72.6, 7_680),
        ("convgpt", {"kernel_size": 1}, 21.27, 3.22, 72.6, 7_680),
    ],
)
def test_flops_and_cache_of_the_paper(variant, changes, forward, head, training, cache):
    config = build_config(Case(variant), **PAPER, **changes)
    at_256 = cost(config, 256)
    assert at_256.forward_flops_per_token / 1e6 == pytest.approx(forward, abs=0.006)
    assert at_256.head_flops_per_token / 1e6 == pytest.approx(head, abs=0.006)
    assert cost(config).training_flops_per_token / 1e6 == pytest.approx(training, abs=0.06)
    assert at_256.cache_bytes_per_token == cache


def test_a_dropped_path_is_not_paid_at_inference():
    both = cost(build_config(Case("parallelgpt"), **PAPER))
    one = cost(build_config(Case("parallelgpt"), **PAPER, active_paths=[1]))
    assert one.parameters == both.parameters
    assert one.training_flops_per_token == both.training_flops_per_token
    assert one.cache_bytes_per_token * 2 == both.cache_bytes_per_token
    assert one.inference_flops_per_token < 0.8 * both.inference_flops_per_token


def test_a_convolution_pays_for_its_state():
    config = build_config(Case("convgpt"), **PAPER, kernel_size=4)
    assert cost(config).state_bytes == 5_760
    assert cost(config).parameters / 1e6 == pytest.approx(36.95, abs=0.006)


BLOCKS = st.fixed_dictionaries(
    {
        "norm": st.sampled_from(["layernorm", "rmsnorm"]),
        "activation": st.sampled_from(["gelu", "gelu_tanh", "relu2", "swiglu"]),
        "position_encoding": st.sampled_from(["learned", "rope", "none"]),
        "qk_norm": st.booleans(),
        "bias": st.booleans(),
        "mlp_ratio": st.sampled_from([1, 2.5, 4]),
        "mlp_taper": st.sampled_from([0, 0.5, -0.75]),
        "head_policy": st.sampled_from(["count", "width"]),
        "output_head": st.sampled_from(["direct", "projected"]),
        "tie_word_embeddings": st.booleans(),
    }
)
SCHEDULES = st.fixed_dictionaries(
    {
        "downsample_position": st.integers(1, 7),
        "downsample_frequency": st.integers(1, 4),
        "downsample_times": st.sampled_from([None, 0, 1, 2]),
        "downsample_factor": st.sampled_from([1.5, 2, 4]),
        "narrowest": st.sampled_from([0.25, 0.6]),
        "turn": st.sampled_from([0.3, 0.75]),
        "downsample_operator": st.sampled_from(["linear", "conv", "pool", "carry", "pad"]),
        "kernel_size": st.sampled_from([1, 3]),
        "min_width": st.none(),
    }
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    variant=st.sampled_from(VARIANTS),
    block=BLOCKS,
    schedule=SCHEDULES,
    n_path=st.sampled_from([2, 3, 6]),
    n_embd=st.sampled_from([96, 192]),
)
def test_cost_equals_any_model(variant, block, schedule, n_path, n_embd):
    own = model_class(variant).config_class.settable()
    changes = {k: v for k, v in {**block, **schedule, "n_path": n_path}.items() if k in own}
    size = {"n_layer": 6, "n_head": 4, "n_embd": n_embd, "vocab_size": 80, "allow_narrow": True}
    try:
        config = build_config(Case(variant), **{**changes, **size})
    except ValueError as refused:
        assert "=" in str(refused) and "\n" not in str(refused)
        assume(False)
    assert cost(config).parameters == real_parameters(variant, config)
