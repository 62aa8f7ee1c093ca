"""The chunked cross-entropy against the plain one."""

import pytest
import torch
import torch.nn.functional as F

from smallgpt.models import loss


def plain(x, weight, target):
    return F.cross_entropy(F.linear(x, weight).float(), target, ignore_index=-100)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("autocast", [False, True])
def test_chunked_equals_plain(monkeypatch, autocast, reduction):
    monkeypatch.setattr(loss, "CHUNKED_FROM", 0)
    torch.manual_seed(0)
    x = torch.randn(300, 16, requires_grad=True)
    weight = torch.randn(50, 16, requires_grad=True)
    target = torch.randint(0, 50, (300,))
    target[[0, 7, 299]] = -100
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        ours = loss.linear_cross_entropy(x, weight, target, reduction)
        expected = plain(x, weight, target) * (297 if reduction == "sum" else 1)
    gradients = torch.autograd.grad(3 * ours, (x, weight))
    wanted = torch.autograd.grad(3 * expected, (x, weight))
    tolerance = (
        {"atol": 2e-2 if reduction == "mean" else 0.5, "rtol": 2e-2} if autocast else {"atol": 1e-4, "rtol": 1e-4}
    )
    torch.testing.assert_close(ours, expected, **tolerance)
    for got, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(got, want, **tolerance)


def test_without_gradients_and_with_one_only(monkeypatch):
    monkeypatch.setattr(loss, "CHUNKED_FROM", 0)
    x, weight, target = torch.randn(10, 4), torch.randn(7, 4, requires_grad=True), torch.arange(10) % 7
    with torch.no_grad():
        quiet = loss.linear_cross_entropy(x, weight, target)
    loud = loss.linear_cross_entropy(x, weight, target)
    torch.testing.assert_close(quiet, loud)
    loud.backward()
    assert weight.grad.any()


def test_nothing_to_score_is_zero():
    x, weight = torch.randn(3, 4), torch.randn(7, 4)
    assert loss.linear_cross_entropy(x, weight, torch.full((3,), -100)) == 0


def test_what_a_compiler_sees_is_the_same(monkeypatch):
    torch.manual_seed(0)
    logits, target = torch.randn(12, 9), torch.randint(0, 9, (12,))
    target[[0, 5]] = -100
    eager = loss.chunk_loss(logits.clone(), target, True)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    for ours, seen in zip(eager, loss.chunk_loss(logits.clone(), target, True), strict=True):
        torch.testing.assert_close(ours, seen)


def test_a_gpu_gets_larger_chunks():
    assert loss.rows_per_chunk(512, 50304) == 256
    assert loss.rows_per_chunk(512, 50304, "cuda") > 2000
    assert loss.rows_per_chunk(512, 10**9, "cuda") == 256
