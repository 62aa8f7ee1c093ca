"""The size at which a variant costs what a baseline does."""

import random
import re
from pathlib import Path

import pytest

from smallgpt.launch import size_matching
from smallgpt.models import matching
from smallgpt.models.convgpt import ConvGPTConfig
from smallgpt.models.cost import cost
from smallgpt.models.gpt import GPTConfig
from smallgpt.models.lineargpt import LinearGPTConfig
from smallgpt.models.matching import LATENCY, MOST_TIMES_WIDER, Quantity, closed_form, measure_of, resized, solve
from smallgpt.models.parallelgpt import ParallelGPTConfig
from smallgpt.settings import Match

VARIANTS = [GPTConfig, ParallelGPTConfig, LinearGPTConfig, ConvGPTConfig]
SIZE = {"n_layer": 4, "n_head": 2, "n_embd": 64, "vocab_size": 1024, "block_size": 64, "allow_narrow": True}


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


@pytest.mark.parametrize("number", [*range(20), *(pytest.param(n, marks=pytest.mark.slow) for n in range(20, 50))])
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
        matched = solve(config, closed_form(baseline, quantity, without))
        assert abs(matched.difference) <= 0.02
        assert matched.value == measure(cost(matched.config)) and matched.config.n_layer == config.n_layer
        assert matched.difference == pytest.approx(matched.value / target - 1) and matched.mlp_ratio is None
    else:
        nearest = sorted(offs, key=lambda width: offs[width])
        try:
            matched = solve(config, closed_form(baseline, quantity, without))
        except ValueError as error:
            assert re.search(rf"within 2% .* nearest is n_embd={nearest[0]} ", str(error))
        else:
            assert abs(matched.difference) <= 0.02 and 3 <= matched.mlp_ratio <= 5
            assert matched.config.n_embd in nearest[:4]


def test_the_mlps_make_up_for_what_no_width_gives():
    size = {"n_layer": 4, "n_head": 4, "block_size": 128, "vocab_size": 4096, "position_encoding": "rope"}
    baseline, config = GPTConfig(n_embd=128, **size), ConvGPTConfig(n_embd=128, allow_narrow=True, **size)
    for quantity in ("flops", "params"):
        matched = solve(config, closed_form(baseline, quantity), tolerance=0.01)
        assert matched.mlp_ratio and abs(matched.difference) <= 0.005
        assert f"mlp_ratio 4 -> {matched.mlp_ratio:g}" in str(matched)
        assert matched.to_dict()["mlp_ratio"] == matched.config.mlp_ratio


def test_the_baseline_itself_is_left_as_it_is():
    config = GPTConfig(n_layer=2, n_head=4, n_embd=100, vocab_size=1000)
    assert solve(config, closed_form(config, "params")).config is config


def test_multiples_of_eight_are_preferred():
    baseline = GPTConfig(n_layer=4, n_head=4, n_embd=512, vocab_size=4096)
    config = ParallelGPTConfig(n_layer=4, n_head=4, n_embd=64, vocab_size=4096)
    matched = solve(config, closed_form(baseline, "params"))
    assert matched.config.n_embd % 8 == 0


def test_depth_is_tried_where_no_width_is_near_enough():
    baseline = GPTConfig(n_layer=4, n_head=4, n_embd=64, vocab_size=256)
    config = GPTConfig(n_layer=3, n_head=32, n_embd=512, vocab_size=256, allow_narrow=True)
    with pytest.raises(ValueError, match=r"match\.depth=true"):
        solve(config, closed_form(baseline, "params"))
    matched = solve(config, closed_form(baseline, "params"), depth=True, tolerance=0.1)
    assert matched.config.n_layer != 3 and abs(matched.difference) <= 0.1


@pytest.mark.parametrize("policy", ["count", "width"])
@pytest.mark.parametrize("widths", [[256, 128, 128, 256], [256, 256, 128, 64, 33]])
def test_a_list_of_widths_is_scaled(widths: list[int], policy: str):
    shape = {"n_layer": 4, "n_head": 4, "n_embd": 256, "vocab_size": 1024, "allow_narrow": True}
    config = LinearGPTConfig(**shape, head_policy=policy, widths=widths)
    matched = solve(config, closed_form(GPTConfig(**shape), "params"))
    found = matched.config
    assert abs(matched.difference) <= 0.02 and found.n_embd > 256 and found.widths[0] == found.n_embd
    step = 4 if policy == "count" else found.n_embd // 4
    gaps = [new - old * found.n_embd / 256 for new, old in zip(found.widths, widths, strict=True)]
    assert all(abs(gap) <= step / 2 for gap in gaps) and abs(gaps[-1]) <= (0.5 if widths[-1] == 33 else 0)
    assert [new == found.n_embd for new in found.widths] == [old == 256 for old in widths]
    assert matched.value == cost(found).parameters


class Clock:
    """Stands for a measurement: seconds that rise with the width, here and there disturbed; notes what was measured."""

    def __init__(self, at: int, noise: float = 0, seed: int = 0):
        self.at, self.noise, self.chance = at, noise, random.Random(seed)
        self.widths: list[int] = []

    def seconds(self, width: int) -> float:
        return 1e-3 + 3e-3 * (width / self.at) ** 2

    def of(self, config: GPTConfig) -> tuple[float, float]:
        self.widths.append(config.n_embd)
        return self.seconds(config.n_embd) * self.chance.uniform(1 - self.noise, 1 + self.noise), self.seconds(self.at)

    @property
    def quantity(self) -> Quantity:
        return Quantity(LATENCY, self.of, measured=True)


@pytest.mark.parametrize("heads", [1, 6, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 8))])
@pytest.mark.parametrize("at", [40, 100, 256, 500, 3000])
def test_few_sizes_are_measured_and_none_is_far_too_large(heads: int, at: int):
    clock = Clock(at)
    config = GPTConfig(n_layer=2, n_head=heads, n_embd=heads * 32, allow_narrow=True)
    if at >= MOST_TIMES_WIDER * config.n_embd:
        with pytest.raises(ValueError, match=r"^no n_embd comes within 10% of 4 ms a token; nearest is n_embd="):
            solve(config, clock.quantity, tolerance=0.1)
    else:
        matched = solve(config, clock.quantity, tolerance=0.1)
        assert abs(matched.difference) <= 0.1 and f"{matched.value * 1000:.3g} ms a token" in str(matched)
        assert matched.to_dict()["quantity"] == "seconds a token" and matched.target == clock.seconds(at)
    assert len(clock.widths) <= 14 and max(clock.widths) <= max(2 * at + 2 * heads, config.n_embd)


@pytest.mark.parametrize("seed", range(20))
def test_noise_leads_near_the_width(seed: int):
    clock = Clock(300, noise=0.04, seed=seed)
    matched = solve(GPTConfig(n_layer=2, n_head=4, n_embd=64), clock.quantity, tolerance=0.05)
    assert abs(clock.seconds(matched.config.n_embd) / clock.seconds(300) - 1) <= 0.1


def test_measured_widths_that_are_multiples_of_eight_come_first_and_others_where_none_is_near():
    config = GPTConfig(n_layer=2, n_head=2, n_embd=32, allow_narrow=True)
    assert solve(config, Clock(102).quantity, tolerance=0.05).config.n_embd % 8 == 0
    clock = Clock(102)
    matched = solve(config, clock.quantity, tolerance=0.001)
    assert matched.config.n_embd == 102 and len(set(clock.widths)) == len(clock.widths) - 1  # its own is asked twice


def test_the_nearest_measured_size_is_named_and_other_depths_are_tried():
    def of(config: GPTConfig) -> tuple[float, float]:
        return 2e-3 * config.n_layer + 1e-9 * config.n_embd, 4.2e-3

    config, quantity = GPTConfig(n_layer=4, n_head=4, n_embd=64), Quantity(LATENCY, of, measured=True)
    with pytest.raises(ValueError, match=r"nearest is n_embd=\d+ with 8 ms a token \(\+90\.5%\).*match\.depth=true"):
        solve(config, quantity, tolerance=0.05)
    assert solve(config, quantity, depth=True, tolerance=0.05).config.n_layer == 2


def test_the_jobs_of_a_sweep_that_have_one_size_solve_for_it_once(monkeypatch):
    solved = []
    monkeypatch.setattr(matching, "solve", lambda config, *how: solved.append(config.model_type) or solve(config, *how))
    size_matching.solved_before.cache_clear()
    gpt, settings = GPTConfig(**SIZE), Match(quantity="params", to="gpt", reference={})

    def sized(config, match=settings):
        return size_matching.matched_size({"match": match, "model": config}, (None, gpt), "", Path("."))

    found = [sized(LinearGPTConfig(**SIZE)) for _ in range(3)]
    found[0].config.n_embd = 1  # of one job alone
    assert found[1] == found[2] == solve(found[1].before, closed_form(gpt, "params"), False, settings.tolerance)
    assert len(solved) == 1
    assert found[1].config is not found[2].config and found[1].config.n_embd > gpt.n_embd
    for config, match in (
        (LinearGPTConfig(**{**SIZE, "n_layer": 6}), settings),
        (LinearGPTConfig(**SIZE), settings.model_copy(update={"quantity": "flops"})),
        (LinearGPTConfig(**SIZE), settings.model_copy(update={"tolerance": 0.1})),
        (ConvGPTConfig(**SIZE), settings),
    ):
        sized(config, match)
    assert len(solved) == 5
