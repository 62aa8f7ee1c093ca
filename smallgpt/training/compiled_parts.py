"""Compiling a model part by part: each kind of block once, instead of the whole model.

Blocks of one shape share what is compiled, so that the start takes as long for 48 of them as for one (PyTorch calls it
regional compilation). What lies between them, the embedding, the final norm and the products of the head, gains little.
"""

from typing import Any

import torch

from smallgpt.machine.compiler import shape_limits
from smallgpt.models.layers import Block
from smallgpt.models.loss import chunk_loss


def compile_parts(model: Any) -> None:
    """Compiles each block of a `Decoder` and the inner loop of its loss, in place: weights keep their names.

    Training has batches of one shape; validation and samples, which have many, are not compiled (`uncompiled`).
    """
    given: Any = {"dynamic": False, **shape_limits()}
    for module in model.modules():
        if isinstance(module, Block):
            module.compile(**given)
    model.chunk_loss = torch.compile(chunk_loss, **given)


def uncompiled() -> Any:
    """Context in which what was compiled runs in eager PyTorch."""
    return torch.compiler.set_stance("force_eager")
