"""Breakdown of a token's time into the parts of the model that take it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from smallgpt.inference.batched_paths import BatchedLinear
from smallgpt.inference.weight_formats import Blocked, Int8Weight, Transposed, is_packed
from smallgpt.machine.rates import now

PARTS = ("products", "attention", "head", "sampling", "overhead")
"""Parts of a token's time.

Matrix products of the body; attention between them, with its cache; the output head; choosing a token and all else
outside of the forward pass; and norms, activations, sums and embeddings inside of it.
"""
LINEAR = (nn.Linear, Transposed, Blocked, BatchedLinear, Int8Weight, Conv1D)


def breakdown(
    model: PreTrainedModel, token_times: Callable[[], list[float]], device: torch.device
) -> dict[str, dict[str, float]]:
    """Seconds per step and share of each part, the mean over the steps after the first token; shares add up to 1.

    A clock is read before and after each module of interest, which adds some microseconds a module, and on a GPU waits
    for what was begun, which adds more: the shares say where the time goes, not how much there is.

    Args:
        token_times: generates, and returns the time of each token.
    """
    running: list[list[Any]] = []  # part, when it began, seconds in modules inside of it
    steps: list[dict[str, float]] = []

    def enter(part: str, *_: Any) -> None:
        if not running:
            steps.append(dict.fromkeys(PARTS, 0.0))
        whole = running[-1][0] if running and running[-1][0] == "head" else part  # a head may be made of parts
        running.append([whole, now(device), 0.0])

    def leave(*_: Any) -> None:
        part, begun, inside = running.pop()
        spent = now(device) - begun
        steps[-1][part] += spent - inside
        if running:
            running[-1][2] += spent

    hooks = []
    for module in model.modules():
        if part := part_of(module, model):
            hooks += [module.register_forward_pre_hook(partial(enter, part)), module.register_forward_hook(leave)]
    try:
        times = token_times()
    finally:
        for hook in hooks:
            hook.remove()
    total = times[-1] - times[0]
    seconds = {part: sum(step[part] for step in steps[1:]) for part in PARTS}
    seconds["sampling"] = total - sum(seconds.values())
    return {part: {"seconds": spent / (len(times) - 1), "share": spent / total} for part, spent in seconds.items()}


def part_of(module: nn.Module, model: PreTrainedModel) -> str | None:
    """Part that a module's time counts in; None where it counts in that of the module around it."""
    if module is model:
        return "overhead"
    if module is model.get_output_embeddings() or module is getattr(model, "head_proj", None):
        return "head"
    if isinstance(module, LINEAR) or is_packed(module):
        return "products"
    return "attention" if type(module).__name__.endswith("Attention") else None
