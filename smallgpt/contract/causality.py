"""No position sees a later one, and no text another one.

Letters in names: R rows of a batch, T time, V vocabulary.
"""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from smallgpt.contract.logits import Broken, compare, read
from smallgpt.models.decoder import Decoder

LAW = "a position may see itself and what stands before it"


def check_gradients(model: Decoder, ids_TT: Tensor, mode: str = "") -> None:
    """Asks each position for what it depends on: in row r of as many texts as they are long, position r alone."""
    score_TT, leaves = scores(model, ids_TT)
    if reach(score_TT[0].sum(), leaves)[1:].any():
        raise Broken(f"a text sees the other texts of its batch{mode}; each row must be read on its own")
    reach_TT = reach(score_TT.diagonal().sum(), leaves)
    if (later := reach_TT.triu(1).nonzero()).numel():
        position, seen = (later[0] + 1).tolist()
        raise Broken(f"position {position} sees position {seen}{mode}; {LAW}")
    if not model.training and (blind := (reach_TT.diagonal() == 0).nonzero()).numel():  # training may drop tokens
        raise Broken(f"position {int(blind[0]) + 1} does not see its own token")


def check_gradients_far(model: Decoder, ids_RT: Tensor, cuts: list[int]) -> None:
    """Asks all positions before one place of each long text whether they depend on what follows it."""
    score_RT, leaves = scores(model, ids_RT)
    before = torch.stack([score_T[:cut].sum() for score_T, cut in zip(score_RT, cuts, strict=True)])
    for reach_T, cut in zip(reach(before.sum(), leaves), cuts, strict=True):
        if (later := reach_T[cut:].nonzero()).numel():
            raise Broken(f"position {cut} or one before it sees position {cut + int(later[0]) + 1}; {LAW}")


def scores(model: Decoder, ids_RT: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Weighs the logits of each position into one number, and gives the embeddings in which gradients end."""
    with embedded(model) as leaves:
        logits_RTV = read(model, ids_RT)
    return (logits_RTV * torch.randn_like(logits_RTV)).sum(-1), leaves


@contextmanager
def embedded(model: Decoder) -> Generator[list[Tensor]]:
    """Collects what the embedding gives out as leaves of the graph."""
    leaves: list[Tensor] = []

    def cut(_module: nn.Module, _inputs: tuple, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1]

    hook = model.get_input_embeddings().register_forward_hook(cut)
    try:
        yield leaves
    finally:
        hook.remove()


def reach(score: Tensor, leaves: list[Tensor]) -> Tensor:
    """Strength with which a score depends on each position of each row, (R, T)."""
    gradients = torch.autograd.grad(score, leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.stack([gradient.abs().sum(-1) for gradient in gradients]).sum(0)


@torch.no_grad()
def check_repetition(model: Decoder, ids_1T: Tensor, mode: str = "") -> None:
    """Finds what gradients do not show: a text read again, beside others, and with other tokens after position r."""
    T, V = ids_1T.shape[1], model.config.vocab_size
    later_TT = torch.ones(T, T, dtype=torch.bool).triu(1)
    same_TT = ids_1T.expand(T, T)
    first, changed, again = (
        seeded(model, ids_TT) for ids_TT in (same_TT, torch.where(later_TT, (same_TT + 1) % V, same_TT), same_TT)
    )
    law = "nothing of a text may be kept for the next one, and only training may draw random numbers"
    compare(again, first, f"when the same text is read again after another one{mode}", law)
    compare(changed[-1:], first[-1:], f"with the other texts of its batch{mode}", "each row must be read on its own")
    for row in range(T - 1):
        compare(changed[[row], : row + 1], first[[row]], f"with the tokens after position {row + 1}{mode}", LAW)


def seeded(model: Decoder, ids_RT: Tensor) -> Tensor:
    """Reads logits; what is drawn in training is the same each time."""
    if model.training:
        torch.manual_seed(0)
    return read(model, ids_RT)
