"""The paper's four variants give the logits that their authors' own code gives, for equal weights and equal ids.

The numbers below were computed once by the authors' classes, with weights from a formula. A tensor is known by its
role: the k-th of the list that `roles` makes is filled with `numbers(k, shape)`, under whatever name a program has it.
Of the authors' code three things had to be known: ConvGPT runs only with `num_blocks_before_conv` set on its config
(2 here), constructors narrow the `n_embd` of the config they are given, and ParallelGPT's mixing weight is a scalar.
"""

import numpy as np
import pytest
import torch
from helpers import Case, build_model

SIZE = {"n_layer": 4, "n_head": 2, "n_embd": 64, "block_size": 32, "vocab_size": 96, "allow_narrow": True}
IDS = [5, 71, 0, 33, 95, 12, 48, 7, 7, 60, 2, 19]
POSITIONS, EVERY = [0, 5, 11], 16  # of the ids, and of the vocabulary
BLOCK = ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
KERNEL = {"convgpt": {"kernel_size": 1}}  # the only one that the authors train

LOGITS = {
    "gpt": [
        [-2.187632, -0.680423, -0.541619, -3.559944, 3.671064, -2.841406],
        [-0.179456, -0.204393, 0.295164, -5.568708, 2.903416, -0.733655],
        [2.033389, -0.495485, -1.274568, -4.966959, 1.540305, 2.909649],
    ],
    "parallelgpt": [
        [-0.733860, 2.179574, -1.595864, -0.390400, 0.820485, 0.121946],
        [0.197463, 2.703730, 1.219300, 1.859290, 2.418457, -0.548048],
        [0.016872, 1.450200, 1.443045, 1.875919, 3.888909, 0.496635],
    ],
    "lineargpt": [
        [-0.082539, 1.202839, 0.038192, -0.563629, 1.359363, -0.783717],
        [-0.183463, 0.673345, 0.786954, -0.982772, 1.397189, -0.720593],
        [-0.982955, -0.149239, -0.598383, -0.537593, -0.586756, 0.816055],
    ],
}
LOGITS["convgpt"] = LOGITS["lineargpt"]  # a kernel of 1 is the linear map, in the authors' code too


def roles(variant):
    """Our name of each tensor, in the order in which the formula counts them."""
    if variant == "gpt":
        body = [name for layer in range(4) for name in block(f"h.{layer}")]
    elif variant == "parallelgpt":
        body = [name for path in range(2) for name in (*linear(f"inputs.{path}"), *path_blocks(path))]
        body.append("backbone.path_weight")
    else:  # two blocks, then the map that halves the stream, twice
        body = []
        for last in (1, 3):
            body += [*block(f"h.{last - 1}"), *block(f"h.{last}"), *linear(f"resize.{last}.proj")]
    return ["wte.weight", "wpe.weight", *body, "ln_f.weight", "lm_head.weight"]


def block(prefix):
    return [f"backbone.{prefix}.{part}.weight" for part in BLOCK]


def linear(prefix):
    return [f"backbone.{prefix}.weight", f"backbone.{prefix}.bias"]


def path_blocks(path):
    return [name for layer in range(2) for name in block(f"paths.{path}.{layer}")]


def numbers(k, shape, centre):
    """Numbers between -0.3 and 0.3 around a centre; the square in the sine makes matrices of full rank."""
    i = np.arange(1, int(np.prod(shape)) + 1, dtype=np.float64)
    return torch.tensor((centre + 0.3 * np.sin(k + 0.37 * i * i)).reshape(shape), dtype=torch.float32)


@torch.no_grad()
def filled_model(variant, **changes):
    model = build_model(Case(variant, "gpt2", KERNEL.get(variant, {})), **{**SIZE, **changes})
    weights, names = {n.removeprefix("transformer."): p for n, p in model.named_parameters()}, roles(variant)
    assert sorted(names) == sorted(weights)
    for k, name in enumerate(names):
        weights[name].copy_(numbers(k, tuple(weights[name].shape), 1 if ".ln_" in f".{name}" else 0))
    return model


@torch.no_grad()
def logits_of(model):
    return model(torch.tensor([IDS])).logits[0, POSITIONS, ::EVERY].double()


@pytest.mark.parametrize("variant", LOGITS)
def test_logits_are_those_of_the_authors_code(variant):
    torch.testing.assert_close(
        logits_of(filled_model(variant)), torch.tensor(LOGITS[variant], dtype=torch.double), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    ("variant", "changes"),
    [
        ("gpt", {"activation": "gelu_tanh"}),
        ("gpt", {"n_head": 4}),
        ("lineargpt", {"head_policy": "width"}),
        ("parallelgpt", {"path_weight": 0.01}),
    ],
)
def test_they_tell_a_small_change_of_the_model(variant, changes):
    changes = dict(changes)
    moved = changes.pop("path_weight", 0)
    model = filled_model(variant, **changes)
    if moved:
        with torch.no_grad():
            model.transformer.backbone.path_weight += moved
    distance = (logits_of(model) - torch.tensor(LOGITS[variant], dtype=torch.double)).abs().max()
    assert distance > 1e-4
