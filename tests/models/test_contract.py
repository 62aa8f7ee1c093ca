"""The contract every variant in conf/model/ keeps, whatever its schedule and block."""

import copy
import math

import pytest
import torch
from helpers import CASES, VARIANTS, Case, build_config, build_model, model_class
from transformers import AutoModelForCausalLM

from smallgpt.contract.check import check_contract, with_noise
from smallgpt.models.layers import Linear

T = 12


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return request.param


@pytest.fixture
def model(case):
    return build_model(case)


def tokens(model, batch=2, length=T, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, model.config.vocab_size, (batch, length), generator=generator)


def test_it_keeps_what_every_task_asks_for(case):
    check_contract(model_class(case.variant), build_config(case))


def test_generate_with_and_without_cache_gives_the_same_ids(model):
    with_noise(model)
    ids = tokens(model, length=5)
    mask = torch.ones_like(ids)
    settings = {"max_new_tokens": 12, "do_sample": False, "attention_mask": mask, "pad_token_id": 0}
    cached = model.generate(ids, use_cache=True, **settings)
    assert torch.equal(cached, model.generate(ids, use_cache=False, **settings))
    beams = model.generate(ids, num_beams=3, **settings)
    assert torch.equal(beams, model.generate(ids, num_beams=3, use_cache=False, **settings))


def test_left_padding_changes_nothing(model):
    with_noise(model)
    ids = tokens(model, batch=1, length=6)
    padded = torch.cat((torch.zeros(1, 3, dtype=torch.long), ids), 1)
    mask = torch.tensor([[0] * 3 + [1] * 6])
    settings = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    alone = model.generate(ids, attention_mask=torch.ones_like(ids), **settings)
    assert torch.equal(alone[0], model.generate(padded, attention_mask=mask, **settings)[0, 3:])


def test_save_and_load_gives_the_same_logits(model, tmp_path):
    with_noise(model)
    ids = tokens(model)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(loaded) is type(model)
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, model(ids).logits)


def test_one_batch_is_learned_and_every_parameter_gets_a_gradient(case):
    model = build_model(case).train()
    ids = tokens(model, length=13)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0)
    for step in range(200):  # most need 40; how many a narrow one needs depends on the processor's rounding
        loss = model.next_token_loss(ids[:, :-1], ids[:, 1:])
        if loss < 0.3:
            break
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            for name, p in model.named_parameters():
                assert p.grad is not None and p.grad.any(), name
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert loss < 0.3


def test_every_weight_has_the_spread_of_its_role(case):
    model = build_model(case)
    seen = set()
    for name, module in model.named_modules():
        for key, p in module.named_parameters(recurse=False):
            seen.add(id(p))
            if isinstance(module, torch.nn.Embedding):
                expected = 0.02
            elif isinstance(module, Linear) and key == "weight":
                if module is model.lm_head and model.config.tie_word_embeddings:
                    continue
                expected = model.init_std(module)
                earlier, p = p[:, : -p.shape[1] // module.taps], p[:, -p.shape[1] // module.taps :]
                assert (earlier == 0).all(), f"{name}.{key}"
            else:
                expected = 0.0
                ones = isinstance(module, torch.nn.LayerNorm | torch.nn.RMSNorm) and key == "weight"
                assert (p == (1.0 if ones else 0.0)).all(), f"{name}.{key}"
            spread = p.std().item() if p.numel() > 1 else 0.0
            rel = max(0.15, 4 / math.sqrt(2 * p.numel()))  # of a small matrix the spread itself has some
            assert spread == pytest.approx(expected, rel=rel, abs=1e-6), f"{name}.{key}"
    assert seen == {id(p) for p in model.parameters()}


def test_what_variants_share_begins_with_the_same_values():
    seen = {}
    for case in CASES:
        for name, weight in build_model(case, init_seed=3).named_parameters():
            first = seen.setdefault((name, weight.shape), weight)
            assert torch.equal(weight, first), f"{case} {name}"
            assert len(weight.shape) != 2 or weight.std() > 0
    shared = {name for name, _ in seen}
    inside = {"wte.weight", "backbone.h.0.attn.c_attn.weight", "backbone.paths.0.0.mlp.c_fc.weight"}
    assert {f"transformer.{name}" for name in inside} <= shared


@pytest.mark.parametrize("variant", VARIANTS)
def test_zero_init_changes_the_maps_into_the_stream_alone(variant):
    plain, zero = (build_model(Case(variant, "modern"), zero_init=value) for value in (False, True))
    into_stream = {f"{n}.weight" for n, m in zero.named_modules() if isinstance(m, Linear) and m.role == "residual"}
    assert into_stream
    for name, weight in zero.named_parameters():
        if name in into_stream:
            assert not weight.any()
        else:
            assert torch.equal(weight, plain.get_parameter(name)), name
    ids = tokens(zero)
    optimizer = torch.optim.SGD(zero.parameters(), lr=1.0)
    for _ in range(2):  # what lies before a map that is zero gets its gradient at the second step
        optimizer.zero_grad()
        zero.next_token_loss(ids[:, :-1], ids[:, 1:]).backward()
        optimizer.step()
    for name, weight in zero.named_parameters():
        assert weight.grad is not None and weight.grad.any(), name


def test_another_seed_and_another_name_begin_with_other_values(case):
    one, other = build_model(case, init_seed=3), build_model(case, init_seed=4)
    again = type(one)(one.config)  # the next of the same generator
    values = set()
    for name, weight in one.named_parameters():
        if len(weight.shape) == 2:
            assert not torch.equal(weight, other.get_parameter(name))
            assert not torch.equal(weight, again.get_parameter(name))
            drawn = weight[weight != 0]
            values.add((drawn / drawn.std())[0].item())
    assert len(values) == sum(len(weight.shape) == 2 for weight in one.parameters())


def test_building_a_model_leaves_its_config_alone(case):
    config = build_config(case)
    before = copy.deepcopy(config.to_dict())
    type(build_model(case))(config)
    after = config.to_dict()
    assert {k: after[k] for k in config.settable()} == {k: before[k] for k in config.settable()}


def test_library_loss_equals_ours(model):
    ids = tokens(model)
    with torch.no_grad():
        ours = model.next_token_loss(ids[:, :-1], ids[:, 1:])
        out = model(ids, labels=ids)
    torch.testing.assert_close(out.loss, ours)
    assert out.logits.shape == (2, T, model.config.vocab_size)
