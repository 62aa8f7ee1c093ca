"""Every variant keeps the contract at any size; those that cheat are refused, on one line that names what and where."""

import re

import cheats
import pytest
import torch
from cheats import CheatConfig, over_blocks, variant, with_map
from helpers import SMALL, VARIANTS, Case, build_config, model_class

from smallgpt.contract.check import check_contract
from smallgpt.contract.logits import Broken
from smallgpt.contract.small_copy import kind, small_copy
from smallgpt.models.cost import cost

PAPER = {"n_layer": 8, "n_head": 8, "n_embd": 512, "block_size": 1024, "vocab_size": 50304}
LARGE = [
    *[Case(name, "gpt2", PAPER) for name in VARIANTS],
    *[Case(name, "modern", PAPER | {"n_layer": 12, "n_head": 12, "n_embd": 768}) for name in ("gpt", "parallelgpt")],
    Case("parallelgpt", "modern", PAPER | {"n_path": 4, "active_paths": [2, 0]}),
    Case("convgpt", "modern", PAPER | {"kernel_size": 4, "head_policy": "width"}),
    Case("lineargpt", "modern", PAPER | {"downsample_operator": "pool", "min_width": 32}),
    Case("lineargpt", "modern", PAPER | {"downsample_operator": "carry"}),
    Case("lineargpt", "gpt2", PAPER | {"downsample_factor": 1.5, "head_policy": "width"}),
    Case("lineargpt", "gpt2", PAPER | {"downsample_operator": "pad", "widths": [512] * 3 + [384, 256, 256, 128, 512]}),
]


@pytest.mark.parametrize(
    "case", [*LARGE[:4], *(pytest.param(case, marks=pytest.mark.slow) for case in LARGE[4:])], ids=str
)
def test_variants_of_any_size_keep_the_contract(case):
    check_contract(model_class(case.variant), build_config(case))


@pytest.mark.parametrize("case", LARGE, ids=str)
def test_the_copy_is_small_and_of_the_same_kind(case):
    config = build_config(case)
    copy = small_copy(config)
    assert kind(copy) == kind(config) and cost(copy).parameters < 400_000
    assert copy.schedule_string().count(" ") == config.schedule_string().count(" ")


@pytest.mark.parametrize("context", [1, 2, 4, 5, 17, 40])
def test_contexts_of_any_length_are_checked(context):
    check_contract(
        model_class("convgpt"), build_config(Case("convgpt", "gpt2", {"kernel_size": 4}), block_size=context)
    )


def test_weights_that_several_blocks_share_are_counted_once():
    config = cheats.SharingConfig(**SMALL)
    check_contract(cheats.Sharing, config)
    assert cost(config).parameters < 0.6 * cost(CheatConfig(**SMALL)).parameters


BROKEN = [
    (variant(forward=over_blocks(cheats.rolled)), "position 1 sees position 2; a position may see itself and what"),
    (variant(forward=over_blocks(cheats.rolled_in_training)), "position 1 sees position 2 in training; "),
    (
        variant(forward=over_blocks(cheats.hard_roll)),
        r"the logits of position 1 change by [\d.]+ with the tokens after",
    ),
    (variant(forward=over_blocks(cheats.far_ahead)), "position 256 or one before it sees position 257; a position may"),
    (variant(forward=over_blocks(cheats.mean_over_batch)), "a text sees the other texts of its batch; each row must"),
    (variant(forward=over_blocks(cheats.batch_norm)), "a text sees the other texts of its batch in training; each row"),
    (variant(forward=over_blocks(cheats.share_of_length)), r"position 1 change by [\d.]+ when the text ends after 1 "),
    (variant(forward=over_blocks(cheats.memory)), "when the same text is read again after another one; nothing of a"),
    (variant(forward=over_blocks(cheats.dropout)), "when the same text is read again after another one; nothing of a"),
    (
        variant(forward=over_blocks(cheats.previous_token)),
        r"position 6 change by [\d.]+ when the text is read in pieces with a cache; keep in context.cache what later "
        "tokens need, or say can_cache = False in CheatConfig$",
    ),
    (variant(forward=over_blocks(cheats.previous_token_kept_outside)), "in pieces with a cache; keep in context.cache"),
    (variant(cheats.UncachedConfig, forward=over_blocks(cheats.running_sum)), "padded on its left; keep padding out"),
    (variant(forward=cheats.shortened), "when the text is read in pieces with a cache; keep in context.cache"),
    (variant(forward=cheats.one_token_less), r"logits have the shape \(16, 15, 96\), not \(16, 16, 96\)"),
    (variant(next_token_loss=cheats.reading_targets), r"next_token_loss is [\d.]+, and the mean cross-entropy of its"),
    (variant(next_token_loss=cheats.over_all_targets), r"next_token_loss is [\d.]+, and the mean cross-entropy of its"),
    (
        with_map(parameters=lambda d: d * d),
        "LayoutPart 'mixing': parameters=4096 in the cost card, parameters=4096 flops=8192 in backbone.mix; write "
        r"parameters=4096 flops=8192 \(flops are those of a token, 2 for each weight of a matrix product\)$",
    ),
    (
        with_map(parameters=lambda d: d, flops=lambda d: 2 * d * d),
        "LayoutPart 'mixing': parameters=64 flops=8192 in the cost card, parameters=4096 flops=8192 in backbone.mix",
    ),
    (with_map(), r"no LayoutPart of body\(\) describes backbone.mix; write one with parameters=4096 flops=8192 "),
    (
        with_map(parameters=lambda d: 64 * 64, flops=lambda d: 2 * 64 * 64),
        "LayoutPart 'mixing': parameters=4096 flops=8192 in the cost card, parameters=1024 flops=2048 in backbone.mix"
        r".* \(at n_embd=32\)$",
    ),
    (
        with_map(parameters=lambda d: d * d, train_only=True),
        "parameters=4096 flops=8192 in backbone.mix.*, in training$",
    ),
]


@pytest.mark.parametrize(("cheat", "told"), BROKEN, ids=[told[:40] for _, told in BROKEN])
def test_a_variant_that_breaks_the_contract_is_told_what_and_where(cheat, told):
    with pytest.raises(Broken) as broken:
        check_contract(cheat, cheat.config_class(**SMALL | {"block_size": 512}))
    assert re.search(told, str(broken.value)), str(broken.value)
    assert "\n" not in str(broken.value)


def test_random_numbers_of_the_caller_stay():
    torch.manual_seed(3)
    right = torch.rand(2)
    torch.manual_seed(3)
    check_contract(model_class("gpt"), build_config(Case("gpt")))
    assert torch.equal(torch.rand(2), right)
    assert CheatConfig.can_cache and not cheats.UncachedConfig.can_cache
