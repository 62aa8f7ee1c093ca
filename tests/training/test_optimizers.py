import copy

import pytest
import torch
from tiny_run import BLOCK, VOCABULARY, tiny_model

from smallgpt.training import muon
from smallgpt.training.muon import native_type, orthogonalised
from smallgpt.training.optimizers import AdamW, Muon, hidden_matrices

SETTINGS = [AdamW(lr=1e-2), Muon(lr=1e-2)]


def train(model, optimizers, steps: range) -> None:
    for step in steps:
        ids = torch.randint(VOCABULARY, (4, BLOCK + 1), generator=torch.Generator().manual_seed(step))
        model.next_token_loss(ids[:, :-1], ids[:, 1:]).backward()
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad()


def weights(model) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def equal(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("settings", SETTINGS)
def test_every_parameter_is_in_exactly_one_group(settings, tied):
    model = tiny_model(tie_word_embeddings=tied)
    groups = settings.build(model).param_groups
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())


@pytest.mark.parametrize("settings", SETTINGS)
def test_only_matrices_decay(settings):
    model = tiny_model(bias=True)
    for group in settings.build(model).param_groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.1 if parameter.dim() >= 2 else 0.0)


def test_muon_leaves_embeddings_positions_and_head_to_adamw():
    model = tiny_model()
    names = {id(p): name for name, p in model.named_parameters()}
    chosen = {names[id(p)] for p in hidden_matrices(model)}
    inside = {name for name, p in model.transformer.backbone.named_parameters("transformer.backbone") if p.dim() == 2}
    assert chosen == inside


def test_matrices_of_one_shape_together_get_the_updates_of_each_alone(monkeypatch):
    monkeypatch.setattr(muon, "native_type", lambda device: torch.float32)
    together, alone = tiny_model(n_layer=3), tiny_model(n_layer=3)
    train(alone, [Muon(lr=1e-2).build(alone)], range(3))
    monkeypatch.setattr(muon, "BATCHED", {"cpu"})
    assert max(map(len, muon.worked_on_together(hidden_matrices(together)))) == 3
    train(together, [Muon(lr=1e-2).build(together)], range(3))
    for ours, theirs in zip(weights(together), weights(alone), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-3)


def test_muon_equals_the_two_torch_optimizers_run_apart():
    ours, theirs = tiny_model(bias=True), tiny_model(bias=True)
    settings = Muon(lr=1e-2)
    matrices = hidden_matrices(theirs)
    rest = [p for p in theirs.parameters() if not any(p is m for m in matrices)]
    apart = [
        torch.optim.Muon(matrices, lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            [
                {"params": [p for p in rest if p.dim() >= 2], "weight_decay": 0.1},
                {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
            ],
            lr=1e-2,
            betas=(0.9, 0.95),
            eps=1e-8,
            fused=True,
        ),
    ]
    same_bits = native_type(torch.device("cpu")) == torch.bfloat16  # torch's Muon takes bf16 everywhere
    steps, tolerance = (range(5), 0.0) if same_bits else (range(1), 2e-3)
    train(ours, [settings.build(ours)], steps)
    train(theirs, apart, steps)
    for a, b in zip(weights(ours), weights(theirs), strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=0)
    assert not equal(ours, tiny_model(bias=True))


@pytest.mark.parametrize("shape", [(24, 64), (64, 24), (32, 32)])
def test_a_matrix_is_orthogonalised_as_by_torch_but_in_any_precision(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    parameter = torch.nn.Parameter(torch.zeros(shape))
    parameter.grad = matrix
    torch.optim.Muon([parameter], lr=1.0, weight_decay=0, momentum=0).step()
    of_torch = -parameter.detach() / max(1, shape[0] / shape[1]) ** 0.5
    torch.testing.assert_close(orthogonalised(matrix, torch.bfloat16).float(), of_torch, atol=0.02, rtol=0)
    exact = orthogonalised(matrix, torch.float32)
    torch.testing.assert_close(exact, of_torch, atol=0.02, rtol=0)
    assert torch.linalg.svdvals(exact).min() > 0.6 and torch.linalg.svdvals(exact).max() < 1.3


@pytest.mark.parametrize("settings", SETTINGS)
def test_saved_state_goes_on_bit_for_bit(settings, tmp_path):
    straight, model = tiny_model(), tiny_model()
    train(straight, [settings.build(straight)], range(6))

    optimizer = settings.build(model)
    train(model, [optimizer], range(3))
    torch.save(optimizer.state_dict(), tmp_path / "state")
    resumed = copy.deepcopy(model)
    restored = settings.build(resumed)
    restored.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    train(resumed, [restored], range(3, 6))
    assert equal(resumed, straight)


@pytest.mark.parametrize("settings", SETTINGS)
def test_learning_rate_of_the_groups_is_the_one_used(settings):
    model = tiny_model()
    optimizer = settings.build(model)
    train(model, [optimizer], range(1))
    before = copy.deepcopy(model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    train(model, [optimizer], range(1, 2))
    assert equal(model, before)
