"""The size at which a variant costs what a baseline does."""

import random

import pytest

from smallgpt.models.convgpt import ConvGPTConfig
from smallgpt.models.cost import cost
from smallgpt.models.gpt import GPTConfig
from smallgpt.models.lineargpt import LinearGPTConfig
from smallgpt.models.matching import measure_of, resized, solve
from smallgpt.models.parallelgpt import ParallelGPTConfig

VARIANTS = [GPTConfig, ParallelGPTConfig, LinearGPTConfig, ConvGPTConfig]


def drawn(chance: random.Random) -> dict:
    heads = chance.choice([2, 4, 6, 8])
    return {
        "n_layer": chance.choice([2, 4, 6, 8]),
        "n_head": heads,
        "n_embd": heads * 16 * chance.randint(1, 5),
        "vocab_size": chance.choice([1024, 4096, 50304]),
        "block_size": chance.choice([64, 256]),
        "allow_narrow": True,
    }


@pytest.mark.parametrize("number", range(50))
def test_the_width_is_within_tolerance_wherever_there_is_one(number):
    chance = random.Random(number)
    values = drawn(chance)
    variant, quantity, without = VARIANTS[number % 4], chance.choice(["params", "flops"]), chance.random() < 0.3
    operator = chance.choice(["linear", "carry", "pad"])
    extra = {"downsample_operator": operator} if variant is LinearGPTConfig else {}
    config = variant(**{**values, **extra, "n_embd": values["n_head"] * 16})
    baseline = GPTConfig(**values)
    measure = measure_of(quantity, without)
    target = measure(cost(baseline))
    every = [
        resized(config, width, config.n_layer) for width in range(config.n_head, 4 * baseline.n_embd, config.n_head)
    ]
    offs = {one.n_embd: abs(measure(cost(one)) / target - 1) for one in every if one}
    if min(offs.values()) <= 0.02:
        matched = solve(config, baseline, quantity, without)
        assert abs(matched.difference) <= 0.02
        assert matched.value == measure(cost(matched.config)) and matched.config.n_layer == config.n_layer
        assert matched.difference == pytest.approx(matched.value / target - 1)
    else:
        nearest = min(offs, key=lambda width: offs[width])
        with pytest.raises(ValueError, match=rf"within 2% .* nearest is n_embd={nearest} "):
            solve(config, baseline, quantity, without)


def test_the_baseline_itself_is_left_as_it_is():
    config = GPTConfig(n_layer=2, n_head=4, n_embd=100, vocab_size=1000)
    assert solve(config, config, "params").config is config


def test_multiples_of_eight_are_preferred():
    baseline = GPTConfig(n_layer=4, n_head=4, n_embd=512, vocab_size=4096)
    matched = solve(ParallelGPTConfig(n_layer=4, n_head=4, n_embd=64, vocab_size=4096), baseline, "params")
    assert matched.config.n_embd % 8 == 0


def test_depth_is_tried_where_no_width_is_near_enough():
    baseline = GPTConfig(n_layer=4, n_head=4, n_embd=64, vocab_size=256)
    config = GPTConfig(n_layer=3, n_head=32, n_embd=512, vocab_size=256, allow_narrow=True)
    with pytest.raises(ValueError, match=r"match\.depth=true"):
        solve(config, baseline, "params")
    matched = solve(config, baseline, "params", depth=True, tolerance=0.1)
    assert matched.config.n_layer != 3 and abs(matched.difference) <= 0.1


def test_a_list_of_widths_cannot_be_solved_for():
    baseline = GPTConfig(n_layer=2, n_head=2, n_embd=64)
    with pytest.raises(ValueError, match="a list"):
        solve(LinearGPTConfig(n_layer=2, n_head=2, n_embd=64, widths=[64, 32]), baseline, "params")
