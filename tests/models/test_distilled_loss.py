"""Loss of a student with a teacher against the plain sum."""

import pytest
import torch
import torch.nn.functional as F

from smallgpt.models import loss
from smallgpt.models.distilled_loss import distilled_cross_entropy

SHARE, T = 0.3, 2.5


def brute_force(x, weight, target, teacher_x, teacher_weight):
    total = 0.0
    for n in range(len(target)):
        if target[n] == -100:
            continue
        student, teacher = weight @ x[n], teacher_weight @ teacher_x[n]
        text = -torch.log_softmax(student, -1)[target[n]]
        p, q = torch.softmax(teacher / T, -1), torch.softmax(student / T, -1)
        total = total + (1 - SHARE) * text + SHARE * T * T * (p * (p / q).log()).sum()
    return total / (target != -100).sum()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
def test_equals_the_plain_sum(monkeypatch, autocast, chunked):
    if chunked:
        monkeypatch.setattr(loss, "CHUNKED_FROM", 0)
    numbers = torch.Generator().manual_seed(0)
    x, teacher_x = torch.randn(300, 16, generator=numbers), torch.randn(300, 24, generator=numbers)
    weight, teacher_weight = torch.randn(50, 16, generator=numbers), torch.randn(50, 24, generator=numbers)
    target = torch.randint(0, 50, (300,), generator=numbers)
    target[[0, 7, 299]] = -100
    x.requires_grad_()
    weight.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        ours = distilled_cross_entropy(x, weight, target, teacher_x, teacher_weight, SHARE, T)
    expected = brute_force(x, weight, target, teacher_x, teacher_weight)
    tolerance = {"atol": 3e-2, "rtol": 3e-2} if autocast else {"atol": 1e-5, "rtol": 1e-4}
    torch.testing.assert_close(ours, expected, **tolerance)
    for got, want in zip(*(torch.autograd.grad(3 * each, (x, weight)) for each in (ours, expected)), strict=True):
        torch.testing.assert_close(got, want, **tolerance)


def test_a_teacher_that_agrees_adds_nothing():
    x, weight, target = torch.randn(10, 4), torch.randn(7, 4), torch.arange(10) % 7
    alone = F.cross_entropy(x @ weight.T, target)
    torch.testing.assert_close(distilled_cross_entropy(x, weight, target, x, weight, SHARE, T), (1 - SHARE) * alone)
