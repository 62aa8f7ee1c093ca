"""What is particular to a variant or an operator."""

import re

import pytest
import torch
import torch.nn.functional as F
from helpers import CASES, SMALL, Case, build_config, build_model
from transformers import GPT2Config, GPT2LMHeadModel

from smallgpt.models.context import Context
from smallgpt.models.cost import cost
from smallgpt.models.layers import Linear
from smallgpt.models.width_schedule import CausalConv
from smallgpt.training.optimizers import hidden_matrices

IDS = torch.arange(24).reshape(2, 12)


def logits(model, ids=IDS):
    with torch.no_grad():
        return model(ids, use_cache=False).logits


@pytest.mark.parametrize("activation", [("gelu", "gelu"), ("gelu_tanh", "gelu_new")])
def test_gpt_equals_the_librarys_gpt2(activation):
    ours_name, theirs_name = activation
    ours = build_model(Case("gpt"), bias=True, activation=ours_name, tie_word_embeddings=True)
    theirs = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=SMALL["vocab_size"],
            n_positions=SMALL["block_size"],
            n_embd=SMALL["n_embd"],
            n_layer=SMALL["n_layer"],
            n_head=SMALL["n_head"],
            activation_function=theirs_name,
        )
    ).eval()
    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(0.05 * torch.randn_like(p))
    weights = {}
    for name, value in theirs.transformer.state_dict().items():
        conv1d = name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))  # stored (in, out) there
        key = f"transformer.backbone.{name}" if name.startswith("h.") else f"transformer.{name}"
        weights[key] = value.T if conv1d else value
    missing = ours.load_state_dict(weights, strict=False)
    assert missing.missing_keys == ["lm_head.weight"] and not missing.unexpected_keys
    torch.testing.assert_close(logits(ours), logits(theirs), atol=1e-5, rtol=0)


def test_roles_of_the_linear_maps():
    roles = {}
    for case in (Case("parallelgpt"), Case("lineargpt", "modern")):
        for name, module in build_model(case).named_modules():
            if isinstance(module, Linear):
                roles.setdefault(module.role, set()).add(re.sub(r"\.?\d+\.?", ".", name).split("backbone.")[-1])
    assert roles == {
        "residual": {"h.attn.c_proj", "h.mlp.c_proj", "paths..attn.c_proj", "paths..mlp.c_proj"},
        "hidden": {
            "h.attn.c_attn",
            "h.mlp.c_fc",
            "paths..attn.c_attn",
            "paths..mlp.c_fc",
            "lm_head",
            "transformer.head_proj",
        },
        "stream": {"inputs.", "resize.proj"},
    }


def test_convgpt_with_kernel_1_is_lineargpt():
    assert torch.equal(logits(build_model(Case("convgpt"), kernel_size=1)), logits(build_model(Case("lineargpt"))))


@pytest.mark.parametrize("kernel", [3, 4])
def test_convgpt_begins_as_lineargpt_and_then_sees_earlier_tokens(kernel):
    model = build_model(Case("convgpt"), kernel_size=kernel)
    torch.testing.assert_close(logits(model), logits(build_model(Case("lineargpt"))))
    model.next_token_loss(IDS[:, :-1], IDS[:, 1:]).backward()
    earlier = model.transformer.backbone.resize["1"].proj.weight.grad[:, : -SMALL["n_embd"]]
    assert (earlier != 0).any(dim=0).all()


@pytest.mark.parametrize("block", ["gpt2", "modern"])
def test_canon_begins_as_gpt_and_its_convolutions_learn(block):
    model = build_model(Case("canon", block))
    assert torch.equal(logits(model), logits(build_model(Case("gpt", block))))
    model.next_token_loss(IDS[:, :-1], IDS[:, 1:]).backward()
    convs = {name: p for name, p in model.named_parameters() if "conv_" in name}
    assert len(convs) == 2 * SMALL["n_layer"] and all(p.grad.count_nonzero() > 0 for p in convs.values())
    muons = {id(p) for p in hidden_matrices(model)}
    assert muons and not muons & {id(p) for p in convs.values()}


@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
@pytest.mark.parametrize("taper", [0.5, -0.5, 0.3])
@pytest.mark.parametrize("depth", [4, 7, 8, 12])
def test_a_taper_costs_exactly_what_gpt_does(activation, taper, depth):
    size = {"n_layer": depth, "n_embd": 104, "activation": activation}
    even, tapered = (
        cost(build_config(Case(*case), **size, mlp_taper=t)) for case, t in ((("gpt",), 0), (("taper",), taper))
    )
    for amount in ("parameters", "training_flops_per_token", "cache_bytes_per_token", "state_bytes"):
        assert getattr(even, amount) == getattr(tapered, amount)
    widths = [part["mlp_width"] for part in tapered.layout if part["mlp_width"]]
    assert widths == sorted(widths, reverse=taper > 0) and widths[0] != widths[-1]


def test_the_causal_convolution_is_torchs():
    torch.manual_seed(0)
    ours, x_BTW = CausalConv(8, 5, kernel_size=3, layer_idx=0), torch.randn(2, 7, 8)
    kernel = ours.proj.weight.view(5, 3, 8).transpose(1, 2)
    theirs = F.conv1d(F.pad(x_BTW.transpose(1, 2), (2, 0)), kernel, ours.proj.bias).transpose(1, 2)
    torch.testing.assert_close(ours(x_BTW, Context(torch.arange(7)[None])), theirs)


def test_one_path_is_the_whole_with_all_the_weight():
    both = build_model(Case("parallelgpt"))
    for path, weight in ((0, 40.0), (1, -40.0)):
        with torch.no_grad():
            both.transformer.backbone.path_weight.fill_(weight)
        one = build_model(Case("parallelgpt"), active_paths=[path])
        one.load_state_dict(both.state_dict())
        torch.testing.assert_close(logits(one), logits(both))


def test_paths_that_stay_share_the_weight():
    some = build_model(Case("parallelgpt"), n_path=4, active_paths=[1, 3])
    one = build_model(Case("parallelgpt"), n_path=4, active_paths=[3])
    assert not torch.equal(logits(some), logits(one))
    ids = some.generate(IDS[:, :4], max_new_tokens=6, do_sample=False, pad_token_id=0)
    assert torch.equal(
        ids, some.generate(IDS[:, :4], max_new_tokens=6, do_sample=False, use_cache=False, pad_token_id=0)
    )


def test_training_runs_every_path():
    model = build_model(Case("parallelgpt"), active_paths=[1]).train()
    model.next_token_loss(IDS[:, :-1], IDS[:, 1:]).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_carry_leaves_the_rest_of_the_stream_alone():
    model = build_model(Case("lineargpt"), downsample_operator="carry")
    seen = []
    model.transformer.backbone.h[2].register_forward_hook(lambda _m, args, out: seen.append((args[0], out)))
    logits(model)
    before, after = seen[0]
    assert torch.equal(before[..., 32:], after[..., 32:]) and not torch.equal(before[..., :32], after[..., :32])


def test_the_mlp_taper_of_the_literature():
    config = build_config(Case("taper"), n_layer=8, n_embd=256, n_head=4)
    widths = [shape.mlp_width for shape in config.block_shapes()]
    published = [1536, 1472, 1344, 1152, 896, 704, 576, 512]  # there in steps of 64, here of 8
    assert all(abs(ours - theirs) <= 32 for ours, theirs in zip(widths, published, strict=True))
    assert (widths[0], widths[-1]) == (1536, 512)


@pytest.mark.parametrize(
    ("variant", "changes", "text"),
    [
        ("gpt", {}, "8@512 head@512"),
        ("parallelgpt", {}, "2x(4@512) head@512"),
        ("parallelgpt", {"active_paths": [0]}, "2x(4@512) paths 0 head@512"),
        ("lineargpt", {}, "2@512 linear 2@256 linear 2@128 linear 2@64 linear head@32"),
        ("convgpt", {"kernel_size": 3, "downsample_times": 1}, "2@512 conv3 6@256 head@256"),
        ("lineargpt", {"downsample_operator": "carry"}, "2@512 carry 2@256 carry 2@128 carry 2@64 head@512"),
        ("lineargpt", {"downsample_factor": 1.5, "downsample_times": 1}, "2@512 linear 6@344 head@344"),
        ("lineargpt", {"widths": [512] * 4 + [256] * 4}, "4@512 linear 4@256 head@256"),
        (
            "bowtie",
            {},
            "1@512 carry 1@448 carry 1@392 carry 1@336 carry 1@296 carry 1@256 carry 1@360 carry 1@512 head@512",
        ),
        (
            "bowtie",
            {"narrowest": 0.25, "turn": 0.5, "n_layer": 5},
            "1@512 carry 1@256 carry 1@128 carry 1@256 carry 1@512 head@512",
        ),
        ("bowtie", {"head_policy": "width", "n_layer": 4}, "1@512 carry 1@384 carry 1@256 carry 1@512 head@512"),
        ("bowtie", {"narrowest": 1.0}, "8@512 head@512"),
    ],
)
def test_schedule_string(variant, changes, text):
    size = {"n_layer": 8, "n_head": 8, "n_embd": 512}
    assert build_config(Case(variant), **size | changes).schedule_string() == text


@pytest.mark.parametrize(
    ("variant", "changes", "words"),
    [
        ("gpt", {"n_embd": 250, "n_head": 8}, ["n_embd=250", "248 and 256"]),
        ("gpt", {"n_head": 8}, ["n_head=8", "8 wide", "n_head=4", "allow_narrow=true"]),
        ("gpt", {"n_layer": 0}, ["n_layer=0", "at least 1"]),
        ("gpt", {"dropout": 1.5}, ["dropout=1.5", "under 1"]),
        ("gpt", {"mlp_ratio": -1.0}, ["mlp_ratio=-1.0", "over 0"]),
        ("parallelgpt", {"n_path": 3}, ["n_layer=4", "n_path=3", "3 and 6"]),
        ("parallelgpt", {"active_paths": [2]}, ["active_paths=[2]", "0 to 1"]),
        ("lineargpt", {"tie_word_embeddings": True}, ["tie_word_embeddings=true", "output_head=projected"]),
        ("lineargpt", {"min_width": 32}, ["min_width=32", "down to 16", "downsample_times=1"]),
        ("lineargpt", {"allow_narrow": False}, ["min_width=32", "down to 16", "allow_narrow=true"]),
        ("lineargpt", {"kernel_size": 3}, ["kernel_size=3", "downsample_operator=conv"]),
        ("lineargpt", {"widths": [64, 32]}, ["widths=[64, 32]", "n_layer=4 wants 4, or 5"]),
        ("lineargpt", {"widths": [64, 63, 32, 32]}, ["n_head=2", "63"]),
        ("lineargpt", {"downsample_operator": "pool", "widths": [64, 48, 48, 32]}, ["pool", "64 features to 48"]),
        ("lineargpt", {"downsample_factor": 1.0}, ["downsample_factor=1.0", "over 1"]),
        ("gpt", {"mlp_taper": 1.0}, ["mlp_taper=1.0", "under 1"]),
        ("canon", {"conv_kernel": 1}, ["conv_kernel=1", "at least 2", "model=gpt"]),
        ("canon", {"conv_blocks": 5}, ["conv_blocks=5", "n_layer=4"]),
        ("bowtie", {"n_layer": 2}, ["n_layer=2", "at least 3 blocks"]),
        ("bowtie", {"narrowest": 0.25}, ["min_width=32", "goes down to 16", "narrowest=0.5", "allow_narrow=true"]),
        ("bowtie", {"turn": 0}, ["turn=0", "over 0 and under 1"]),
    ],
)
def test_impossible_configs_are_refused_with_what_would_work(variant, changes, words):
    with pytest.raises(ValueError) as refused:
        build_config(Case(variant), **changes)
    message = str(refused.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_kinds_of_its_cache_are_read_in_a_compiled_graph(case):
    config = build_config(case)
    torch.compiler.reset()
    compiled = torch.compile(lambda: list(config.layer_types), backend="eager", fullgraph=True)
    assert compiled() == list(config.layer_types)
