"""What a number is rounded to in fewer bits."""

import pytest
import torch
from torch import nn

from smallgpt.inference.weight_formats import BF16, MAKE


@pytest.mark.parametrize("kind", MAKE)
def test_a_token_is_read_the_same_whatever_is_read_with_it(kind: str) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 32).to(torch.bfloat16 if kind in BF16 else torch.float32)
    made = MAKE[kind](linear)
    with torch.inference_mode():
        x_BTK = torch.randn(1, 3, 64, dtype=linear.weight.dtype)
        x_BTK[0, 0] *= 1000
        exact, found = linear(x_BTK)[0, 1:], made(x_BTK)[0, 1:]
        alone = torch.cat([made(x_BTK[:, t : t + 1])[0] for t in (1, 2)])
    for other in (exact, alone):
        assert (found - other).abs().max() < 0.02 * exact.abs().max()
