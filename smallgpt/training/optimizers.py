"""Optimizers, each a group of settings that builds ONE torch optimizer for a model.

One optimizer object a run: Lightning then counts steps, accumulates and saves state as usual. Every
parameter group has the same `lr`, set before each step from the schedule.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from smallgpt.settings import Group

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Memory = Annotated[float, Field(ge=0, lt=1)]
"""Share of a running average that stays at each step."""


class AdamW(Group):
    """AdamW as in the paper, with weight decay on all parameters of two or more dimensions.

    These include embeddings and convolution kernels; norms, biases and single weights have none.
    """

    lr: float = Field(1e-3, gt=0)
    """Largest learning rate, for short runs of small models; the paper has 6e-4, at half a million tokens a step."""
    betas: tuple[Memory, Memory] = (0.9, 0.95)
    """Shares of the running averages of the gradient and of its square that stay at each step."""
    weight_decay: float = Field(0.1, ge=0)
    """Part of a weight that is taken off at each step, times the learning rate."""
    eps: float = Field(1e-8, gt=0)
    """Number added to the root of the average square before the gradient is divided by it."""

    def build(self, model: "PreTrainedModel") -> "torch.optim.Optimizer":
        import torch

        return torch.optim.AdamW(
            decay_groups(model.parameters(), self.weight_decay),
            lr=self.lr,
            betas=self.betas,
            eps=self.eps,
            fused=True,
        )


class Muon(Group):
    """Muon for the matrices inside, AdamW for the rest (embeddings, output head, norms, vectors).

    Muon's updates are scaled to the size of AdamW's, so that one learning rate and one weight decay
    serve both.
    """

    lr: float = Field(4e-3, gt=0)
    """Largest learning rate, for short runs of small models; larger ones and longer runs want less."""
    momentum: Memory = 0.95
    """Share of the running average of the gradient that stays at each step, for the matrices."""
    betas: tuple[Memory, Memory] = (0.9, 0.95)
    """Betas of AdamW, for the rest."""
    weight_decay: float = Field(0.1, ge=0)
    """Part of a weight that is taken off at each step, times the learning rate."""
    eps: float = Field(1e-8, gt=0)
    """Epsilon of AdamW, for the rest."""

    def build(self, model: "PreTrainedModel") -> "torch.optim.Optimizer":
        from smallgpt.training.muon import MuonWithAdamW

        matrices = hidden_matrices(model)
        chosen = {id(parameter) for parameter in matrices}
        rest = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
        return MuonWithAdamW(
            matrices,
            decay_groups(rest, self.weight_decay),
            lr=self.lr,
            muon={"momentum": self.momentum, "weight_decay": self.weight_decay},
            adamw={"betas": self.betas, "eps": self.eps},
        )


def decay_groups(parameters: Iterable["torch.nn.Parameter"], weight_decay: float) -> list[dict[str, Any]]:
    """Two parameter groups: those of two or more dimensions with weight decay, the others without."""
    trained = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def hidden_matrices(model: "PreTrainedModel") -> list["torch.nn.Parameter"]:
    """Weight matrices between hidden vectors, without embeddings, positions and output head."""
    import torch

    tables = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    lookups = {id(p) for m in (*tables, *ends) if m is not None for p in m.parameters()}
    return [p for p in model.parameters() if p.requires_grad and p.dim() == 2 and id(p) not in lookups]
