"""Every variant behaves as the library's own models do: arguments, caches, masks, outputs, base model, compilers."""

import copy

import pytest
import torch
from helpers import CASES, VARIANTS, Case, build_model
from transformers import AutoModel, AutoModelForCausalLM, StaticCache

from smallgpt.contract.check import with_noise

GENERATION = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}


@pytest.fixture(params=CASES, ids=str)
def model(request):
    return with_noise(build_model(request.param))


@pytest.fixture(params=[Case(variant, "modern") for variant in VARIANTS], ids=str)
def each(request):
    """One model of each variant."""
    return with_noise(build_model(request.param))


def tokens(model, *shape, seed=0):
    return torch.randint(1, model.config.vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def test_the_loss_is_a_part_of_the_steps_mean_where_its_number_of_targets_is_given(each):
    ids = tokens(each, 4, 9)
    whole = each(ids, labels=ids).loss
    parts = [each(half, labels=half, num_items_in_batch=torch.tensor(32)).loss for half in ids.chunk(2)]
    torch.testing.assert_close(sum(parts), whole)


def test_shifted_labels_are_taken_as_they_are(each):
    ids = tokens(each, 2, 9)
    shifted = torch.cat((ids[:, 1:], torch.full((2, 1), -100)), 1)
    torch.testing.assert_close(each(ids, labels=ids.flip(0), shift_labels=shifted).loss, each(ids, labels=ids).loss)


def test_what_would_be_ignored_is_refused():
    gpt = build_model(Case("gpt"))
    ids = tokens(gpt, 1, 4)
    with pytest.raises(TypeError, match="unexpected keyword argument 'head_mask'"):
        gpt(ids, head_mask=torch.ones(2))
    with pytest.raises(ValueError, match="read by flash attention alone"):
        gpt(ids, cu_seq_lens_q=torch.tensor([0, 2, 4]))
    for both_or_none in ({}, {"input_ids": ids, "inputs_embeds": gpt.transformer.wte(ids)}):
        with pytest.raises(ValueError, match="one of input_ids and inputs_embeds"):
            gpt(**both_or_none)


@torch.no_grad()
def test_a_cache_of_a_fixed_size_gives_the_same_logits_without_a_mask(model):
    ids = tokens(model, 2, 9)
    whole = model(ids).logits
    cache = StaticCache(config=model.config, max_cache_len=16)
    parts = [model(part, past_key_values=cache).logits for part in ids.split([4, 1, 3, 1], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-4, rtol=1e-4)


def test_generation_is_the_same_with_every_cache_and_with_padding(each):
    ids = tokens(each, 1, 5)
    padded = torch.cat((torch.zeros(1, 3, dtype=torch.long), ids), 1)
    mask = torch.tensor([[0] * 3 + [1] * 5])
    expected = each.generate(ids, attention_mask=torch.ones_like(ids), **GENERATION)
    for kind in ("static", "dynamic"):
        assert torch.equal(each.generate(ids, cache_implementation=kind, **GENERATION), expected)
        made = each.generate(padded, attention_mask=mask, cache_implementation=kind, **GENERATION)
        assert torch.equal(made[:, 3:], expected), kind


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_documents_of_one_row_do_not_see_each_other(model, attention):
    model.set_attn_implementation(attention)
    first, second = tokens(model, 1, 5), tokens(model, 1, 7, seed=1)
    positions = torch.cat((torch.arange(5), torch.arange(7)))[None]
    for use_cache in (False, True):
        packed = model(torch.cat((first, second), 1), position_ids=positions, use_cache=use_cache).logits
        expected = torch.cat((model(first).logits, model(second).logits), 1)
        torch.testing.assert_close(packed, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_mask_of_four_dimensions_hides_what_one_of_two_does(model, attention):
    ids = tokens(model, 1, 6)
    alone = model(ids).logits
    model.set_attn_implementation(attention)
    padded = torch.cat((tokens(model, 1, 3, seed=2), ids), 1)
    mask_2d = torch.tensor([[0] * 3 + [1] * 6])
    seen = torch.ones(9, 9, dtype=torch.bool).tril() & mask_2d.bool() | torch.eye(9, dtype=torch.bool)
    added = torch.zeros(1, 1, 9, 9).masked_fill(~seen, torch.finfo(torch.float32).min)
    positions = (mask_2d.cumsum(-1) - 1).clamp(min=0)
    for mask in (mask_2d, seen[None, None], added):
        logits = model(padded, attention_mask=mask, position_ids=positions).logits
        torch.testing.assert_close(logits[:, 3:], alone, atol=1e-4, rtol=1e-4)
        out = model(padded[:, :5], attention_mask=mask[..., :5, :5] if mask.dim() == 4 else mask[:, :5],
                    position_ids=positions[:, :5])  # fmt: skip
        rest = model(padded[:, 5:], attention_mask=mask[..., 5:, :] if mask.dim() == 4 else mask,
                     position_ids=positions[:, 5:], past_key_values=out.past_key_values).logits  # fmt: skip
        torch.testing.assert_close(rest, alone[:, 2:], atol=1e-4, rtol=1e-4)
        cache = model(padded[:, :4], attention_mask=mask[..., :4, :4] if mask.dim() == 4 else mask[:, :4],
                      position_ids=positions[:, :4]).past_key_values  # fmt: skip
        for t in range(4, 9):
            row = mask[..., t : t + 1, : t + 1] if mask.dim() == 4 else mask[:, : t + 1]
            one = padded[:, t : t + 1], row, positions[:, t : t + 1], cache
            torch.testing.assert_close(model(*one).logits[:, 0], alone[:, t - 3], atol=1e-4, rtol=1e-4)


def test_gradient_checkpointing_gives_the_same_gradients(each):
    other = copy.deepcopy(each).train()
    each.train()
    other.gradient_checkpointing_enable()
    ids = tokens(each, 2, 9)
    before = torch.get_rng_state()
    for model in (each, other):
        torch.set_rng_state(before)
        model(ids, labels=ids).loss.backward()
    for (name, one), again in zip(each.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, again.grad, msg=name)


@torch.no_grad()
def test_the_base_model_is_loaded_by_itself_and_ends_where_the_head_begins(each, tmp_path):
    each.save_pretrained(tmp_path)
    base = AutoModel.from_pretrained(tmp_path).eval()
    assert type(base) is each.base_class and type(each.base_model) is type(base)
    ids = tokens(each, 2, 9)
    torch.testing.assert_close(each.lm_head(base(ids).last_hidden_state), each(ids).logits)


@torch.no_grad()
def test_weights_of_earlier_runs_are_loaded_by_either_way(each, tmp_path):
    earlier = {name.removeprefix("transformer."): value for name, value in each.state_dict().items()}
    loaded = type(each)(each.config).eval()
    loaded.load_state_dict(earlier)
    each.save_pretrained(tmp_path, state_dict={name: value.clone() for name, value in earlier.items()})
    ids = tokens(each, 1, 9)
    for again in (loaded, AutoModelForCausalLM.from_pretrained(tmp_path).eval()):
        assert torch.equal(again(ids).logits, each(ids).logits)


@torch.no_grad()
def test_hidden_states_and_attention_weights_are_given_on_demand(each):
    ids = tokens(each, 2, 9)
    each.set_attn_implementation("eager")
    out = each(ids, output_hidden_states=True, output_attentions=True)
    assert len(out.hidden_states) == each.config.n_layer + 1 and len(out.attentions) == each.config.n_layer
    torch.testing.assert_close(each.lm_head(out.hidden_states[-1]), out.logits)
    for weights in out.attentions:
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
        assert not weights.triu(1).any()
    logits, *_ = each(ids, return_dict=False)
    assert torch.equal(logits, out.logits)


@pytest.mark.slow
@torch.no_grad()
def test_it_is_compiled_as_one_graph_with_the_default_cache(each):
    ids = tokens(each, 2, 9)
    whole = each(ids).logits
    compiled = torch.compile(each, backend="eager", fullgraph=True)
    out = compiled(ids[:, :6])
    more = compiled(ids[:, 6:7], past_key_values=out.past_key_values)
    torch.testing.assert_close(torch.cat((out.logits, more.logits), 1), whole[:, :7], atol=1e-4, rtol=1e-4)
    torch.compiler.reset()


@pytest.mark.slow
@torch.no_grad()
def test_it_is_exported_as_a_graph_of_pytorch(each):
    ids = tokens(each, 2, 9)
    program = torch.export.export(each, (), {"input_ids": ids, "use_cache": False})
    torch.testing.assert_close(program.module()(input_ids=ids, use_cache=False).logits, each(ids).logits)
