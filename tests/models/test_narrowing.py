"""First weights from those of a wider or deeper model: exact where nothing is lost, near where something is."""

import pytest
import torch
from helpers import Case, build_model

from smallgpt.models import narrowing
from smallgpt.models.layers import Context
from smallgpt.models.narrowing import narrow
from smallgpt.models.truncation import evenly_spaced, nested_bases, product_error, truncated_product

IDS = torch.arange(40).view(2, 20) % 31


def trained(case, **changes):
    """A model whose gains are no ones and whose maps are of ordinary size, as after a training."""
    model = build_model(case, **changes)
    numbers = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            drawn = torch.randn(weight.shape, generator=numbers)
            ordinary = 0.3 * drawn if name.endswith("bias") else 1 + 0.3 * drawn
            weight.copy_(ordinary if weight.dim() == 1 else drawn / weight.shape[-1] ** 0.5)
    return model


def difference(one, other):
    with torch.no_grad():
        first, second = (model(IDS).logits for model in (one, other))
    return float((first - second).norm() / second.norm())


@pytest.mark.parametrize("block", ["gpt2", "modern"])
@pytest.mark.parametrize(
    ("variant", "changes"),
    [
        ("gpt", {}),
        ("taper", {"mlp_taper": 0.0}),
        ("canon", {}),
        ("bowtie", {"narrowest": 1.0}),
        ("lineargpt", {"downsample_times": 0}),
    ],
)
def test_what_has_the_same_shape_is_copied_exactly(variant, changes, block):
    source = trained(Case("gpt", block))
    model = build_model(Case(variant, block, changes))
    done = narrow(model, source)
    assert difference(model, source) == 0 and max(done.errors.values()) < 1e-6
    assert done.layers == [0, 1, 2, 3] and bool(done.own) == (variant == "canon")


@pytest.mark.parametrize(
    ("block", "changes", "tolerance"),
    [
        ("modern", {"tie_word_embeddings": False}, 1e-5),
        ("gpt2", {}, 1e-5),
        ("modern", {"tie_word_embeddings": False, "bias": True, "position_encoding": "learned"}, 1e-5),
        ("gpt2", {"bias": True}, 0.1),  # what the last bias adds to the logits may need one direction more
        ("modern", {}, 0.5),  # gains of a tied head are no gains in another basis
    ],
)
def test_a_turned_stream_is_the_same_model(monkeypatch, block, changes, tolerance):
    source = trained(Case("gpt", block, changes))
    model = build_model(Case("gpt", block, changes))
    monkeypatch.setattr(narrowing, "bases_of", lambda _, moment, centred: nested_bases(moment, [64], centred))
    done = narrow(model, source)
    assert not torch.equal(model.get_input_embeddings().weight, source.get_input_embeddings().weight)
    assert difference(model, source) < tolerance
    assert max(done.errors["values and outputs"], done.errors["MLP"]) < 1e-6


@pytest.mark.parametrize("block", ["gpt2", "modern"])
def test_what_was_not_used_is_not_missed(block):
    """The stream keeps to 20 directions of 64, and one of two heads says nothing: half of each is enough."""
    untied = {"tie_word_embeddings": False}
    source = trained(Case("gpt", block, untied))
    few = torch.randn(64, 20, generator=torch.Generator().manual_seed(1))
    few = torch.linalg.qr(few - few.mean(0)).Q  # no LayerNorm changes it
    with torch.no_grad():
        for name, weight in source.named_parameters():
            if name.endswith(("wte.weight", "wpe.weight")):
                weight.copy_(weight @ few @ few.T)
            elif name.endswith("c_proj.weight"):
                weight.copy_(few @ few.T @ weight)
            elif name.endswith("c_attn.weight"):
                weight.view(3, 2, 32, 64)[2, 0] = 0
    model = build_model(Case("gpt", block, {**untied, "n_embd": 32, "n_head": 1, "mlp_ratio": 8.0}))
    done = narrow(model, source)
    assert difference(model, source) < 2e-3  # a norm's epsilon weighs half as much
    assert done.errors["values and outputs"] > 0.1  # maps read directions that the stream has not


def test_rotated_pairs_keep_their_frequency():
    source = trained(Case("gpt", "modern", {"tie_word_embeddings": False, "qk_norm": False}))
    with torch.no_grad():  # of each head's 16 pairs the odd ones and the second half of values do nothing
        for block in source.transformer.backbone.h:
            qkv = block.attn.c_attn.weight.view(3, 2, 2, 16, 64)
            qkv[:2, :, :, 1::2] = 0
            qkv[2, :, 1] = 0
    model = build_model(Case("gpt", "modern", {"tie_word_embeddings": False, "qk_norm": False, "n_embd": 32}))
    block, old = model.transformer.backbone.h[0], source.transformer.backbone.h[0]
    narrowing.narrow_attention(block.attn, old.attn, (block.ln_1, old.ln_1), torch.eye(64).double()[:, :32], rope=True)
    x_BTD = torch.randn(1, 9, 64, generator=torch.Generator().manual_seed(2))
    x_BTD[..., 32:] = 0
    context = Context(torch.arange(9)[None])
    with torch.no_grad():
        expected = old.attn(old.ln_1(x_BTD), context)[..., :32]
        found = block.attn(block.ln_1(x_BTD[..., :32]), context)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("qk", ["learned", "rope"])
def test_every_kind_of_target_is_made(qk):
    block = "gpt2" if qk == "learned" else "modern"
    source = trained(Case("gpt", block))
    for variant, changes in (
        ("gpt", {"n_embd": 32}),
        ("gpt", {"n_embd": 32, "n_head": 1, "n_layer": 2, "block_size": 24}),
        ("taper", {"n_layer": 3}),
        ("bowtie", {}),
        ("lineargpt", {"downsample_operator": "pad"}),
        ("convgpt", {}),
        ("canon", {"n_embd": 48}),
    ):
        model = build_model(Case(variant, block, {**changes, "allow_narrow": True}))
        before = {name: value.clone() for name, value in model.state_dict().items()}
        done = narrow(model, source)
        assert all(0 <= error < 1.5 for error in done.errors.values())
        unchanged = [n for n, value in model.state_dict().items() if torch.equal(value, before[n])]
        ones_and_zeros = [name for name in unchanged if before[name].dim() > 1 and "conv_" not in name]
        assert not ones_and_zeros, (variant, ones_and_zeros)
        assert torch.isfinite(model(IDS).logits).all()


def test_fewer_blocks_are_taken_at_even_distances():
    assert evenly_spaced(4, 4) == [0, 1, 2, 3] and evenly_spaced(1, 5) == [0]
    assert evenly_spaced(3, 9) == [0, 4, 8] and evenly_spaced(4, 8) == [0, 2, 5, 7]
    source, model = trained(Case("gpt")), build_model(Case("gpt", changes={"n_layer": 2}))
    assert narrow(model, source).layers == [0, 3]
    last, kept = source.transformer.backbone.h[3], model.transformer.backbone.h[1]
    assert torch.equal(kept.mlp.c_fc.weight, last.mlp.c_fc.weight)


def test_a_wider_mlp_begins_as_the_narrower_one():
    source, model = trained(Case("gpt")), build_model(Case("gpt", changes={"mlp_ratio": 5.0}))
    narrow(model, source)
    assert difference(model, source) < 1e-6
    assert model.transformer.backbone.h[0].mlp.c_fc.weight[-64:].any()  # they can learn


def test_the_error_of_a_truncated_product_is_that_of_brute_force():
    numbers = torch.Generator().manual_seed(0)
    left, right = (torch.randn(shape, generator=numbers, dtype=torch.float64) for shape in ((30, 12), (12, 25)))
    product = left @ right
    for rank in (1, 5, 12, 20):
        one, other, error = truncated_product(left, right, rank)
        assert one.shape == (30, rank) and other.shape == (rank, 25)
        brute = (product - one @ other).norm() / product.norm()
        values = torch.linalg.svdvals(product)
        assert error == pytest.approx(float(brute), abs=1e-7)
        assert error == pytest.approx(float(values[rank:].norm() / values.norm()), abs=1e-7)
        assert product_error(left, right, one, other) == pytest.approx(float(brute), abs=1e-7)


@pytest.mark.parametrize("centred", [False, True])
def test_bases_are_nested_orthonormal_and_centred(centred):
    rows = torch.randn(50, 16, generator=torch.Generator().manual_seed(0)).double() * torch.logspace(0, -2, 16)
    if centred:
        rows = rows - rows.mean(1, keepdim=True)
    bases = nested_bases(rows.T @ rows, [12, 6], centred)
    assert torch.equal(bases[12][:, :6], bases[6])
    for width, basis in bases.items():
        rank = width - (1 + (width == 12)) * centred
        values = torch.linalg.svdvals(basis)
        torch.testing.assert_close(values[:rank], torch.ones(rank, dtype=torch.float64))
        assert not centred or (basis.sum(0).abs().max() < 1e-9 and basis.sum(1).abs().max() < 1e-9)
        lost = (rows - rows @ basis @ basis.T).norm()
        assert lost == pytest.approx(float(torch.linalg.svdvals(rows)[rank:].norm()), rel=1e-6)


@pytest.mark.parametrize(
    ("source", "target", "part"),
    [
        ({}, {"vocab_size": 128}, "vocab_size=128: the weights are those of vocab_size=96"),
        (
            {},
            {"position_encoding": "rope"},
            "position_encoding=rope: the weights are those of position_encoding=",
        ),
        ({}, {"n_embd": 128}, "n_embd=128: a training begins from weights of as many or more, and these have 64"),
        ({}, {"n_layer": 5}, "n_layer=5: "),
        ({}, {"n_head": 1}, "n_head=1: makes heads 64 wide"),
        ({}, {"block_size": 64}, "block_size=64: there are 32 learned positions"),
        ({}, {"tie_word_embeddings": True}, "tie_word_embeddings=true: "),
        ({}, {"variant": "parallelgpt"}, "_target_=ParallelGPT: the model is no chain of blocks"),
        (
            {"variant": "canon"},
            {"n_embd": 32},
            "weights of a smallgpt-canon model begin one of the very same",
        ),
        ({}, {"variant": "lineargpt", "downsample_operator": "pool"}, "downsample_operator=pool: "),
    ],
)
def test_what_has_no_way_is_refused_on_one_line(source, target, part):
    def made(changes):
        fields = {key: value for key, value in changes.items() if key != "variant"}
        return build_model(Case(changes.get("variant", "gpt"), changes=fields))

    with pytest.raises(ValueError) as error:
        narrow(made(target), made(source))
    assert part in str(error.value) and "\n" not in str(error.value)
