"""A text gives the same logits whole, cut off, padded on its left, and in pieces with a cache.

Letters in names: R rows of a batch, T time, V vocabulary.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.cache_utils import DynamicCache

from smallgpt.contract.logits import Broken, compare, read, tokens
from smallgpt.models.cost import cost
from smallgpt.models.decoder import Decoder
from smallgpt.models.loss import IGNORED

PADDING = 3  # tokens
UNEVEN = (5, 1, 2, 7, 1)  # tokens that are read at once, over and over
STATES = ("conv_states", "recurrent_states")


@torch.no_grad()
def check_length(model: Decoder, ids_RT: Tensor) -> None:
    """Logits do not depend on where the text ends, nor on how many are asked for."""
    whole_RTV, last = read(model, ids_RT), ids_RT.shape[1]
    if not whole_RTV.isfinite().all():
        raise Broken("logits are not finite")
    length, law = 1, "a position may not know what follows it"
    while length < last:
        compare(read(model, ids_RT[:, :length]), whole_RTV, f"when the text ends after {length} tokens", law)
        length += 1 + length // 2
    start = max(0, last - 2)
    kept_R2V = model(ids_RT, use_cache=False, logits_to_keep=last - start).logits
    compare(kept_R2V, whole_RTV[:, start:], f"with logits_to_keep={last - start}", start=start)


@torch.no_grad()
def check_cache(model: Decoder, ids_RT: Tensor, pieces: Sequence[int], how: str) -> None:
    """A text read in pieces with a cache gives the logits of the whole text."""
    remedy = f"keep in context.cache what later tokens need, or say can_cache = False in {type(model.config).__name__}"
    whole_RTV = read(model, ids_RT)
    for start, rows, part_RTV in in_pieces(model, ids_RT, pieces):
        compare(part_RTV, whole_RTV[rows, start:], f"when the text is read {how} with a cache", remedy, start)


@torch.no_grad()
def check_padding(model: Decoder, ids_RT: Tensor) -> None:
    """Padding on the left of one text changes no logits, neither read at once nor with a cache."""
    T = ids_RT.shape[1]
    if T < PADDING + 2:
        return
    whole_RTV = read(model, ids_RT)
    padded_RT, mask_RT = ids_RT.clone(), torch.ones_like(ids_RT)
    padded_RT[0] = padded_RT[0].roll(PADDING)
    mask_RT[0, :PADDING] = 0
    right_RTV = torch.cat((F.pad(whole_RTV[:1, :-PADDING], (0, 0, PADDING, 0)), whole_RTV[1:]))
    remedy = "keep padding out by context.mask_B1TS and context.padding_BT1"
    at_once = [(0, [], model(padded_RT, attention_mask=mask_RT, use_cache=False).logits)]
    with_cache = in_pieces(model, padded_RT, uneven(T, first=PADDING + 2), mask_RT) if model.config.can_cache else []
    for parts, how in ((at_once, ""), (with_cache, " and read in pieces with a cache")):
        for start, _, part_RTV in parts:
            seen = part_RTV * mask_RT[:, start : start + part_RTV.shape[1], None]
            compare(seen, right_RTV[:, start:], f"when a text is padded on its left{how}", remedy, start)


def uneven(length: int, first: int = 0) -> list[int]:
    """Sizes of pieces that make up `length`."""
    sizes = [first] * bool(first)
    while (rest := length - sum(sizes)) > 0:
        sizes.append(min(UNEVEN[len(sizes) % len(UNEVEN)], rest))
    return sizes


def in_pieces(
    model: Decoder, ids_RT: Tensor, sizes: Sequence[int], mask_RT: Tensor | None = None
) -> Iterator[tuple[int, list[int], Tensor]]:
    """Reads a text with a cache: where each piece begins, its rows and their logits.

    Without a mask rows change their places from piece to piece, as those of beams do.
    """
    cache, rows, start = DynamicCache(config=model.config), list(range(len(ids_RT))), 0
    for size in sizes:
        end = start + size
        given = {} if mask_RT is None else {"attention_mask": mask_RT[:, :end]}
        yield start, rows, model(ids_RT[rows, start:end], past_key_values=cache, use_cache=True, **given).logits
        if mask_RT is None:
            order = [*range(1, len(rows)), 0]
            cache = copy.deepcopy(cache)
            places: Any = torch.tensor(order)  # the library asks for a type of its own
            cache.reorder_cache(places)
            rows = [rows[place] for place in order]
        start = end


@torch.no_grad()
def check_cache_size(model: Decoder, ids_1T: Tensor) -> None:
    """The cache holds as many numbers as the cost card says."""
    layers = model(ids_1T, use_cache=True).past_key_values.layers
    held = [tensor for layer in layers for tensor in (layer.keys, layer.values) if tensor is not None]
    states = [state for layer in layers for name in STATES for state in getattr(layer, name, {}).values()]
    said = cost(model.config, cache_dtype_bytes=1)
    for name, tensors, card in (
        ("cache_elements", held, said.cache_bytes_per_token * ids_1T.shape[1]),
        ("state_elements", [state for state in states if state is not None], said.state_bytes),
    ):
        if (real := sum(tensor.numel() for tensor in tensors)) != card:
            at = f"n_embd={model.config.n_embd}, {ids_1T.shape[1]} tokens"
            raise Broken(f"the cache holds {real} numbers and the parts' {name} are {card} (at {at})")


@torch.no_grad()
def check_loss(model: Decoder, ids_RT: Tensor) -> None:
    """`next_token_loss` is the cross-entropy of the model's own logits, over the targets that are not -100."""
    R, T = ids_RT.shape
    targets_RT = tokens(model.config, R + 1, T)[1:]
    targets_RT[:, 1::4] = IGNORED
    logits_NV = read(model, ids_RT).float().flatten(0, 1)
    for reduction in ("mean", "sum"):
        right = F.cross_entropy(logits_NV, targets_RT.flatten(), ignore_index=IGNORED, reduction=reduction)
        loss = model.next_token_loss(ids_RT, targets_RT, reduction)
        if not torch.allclose(loss.float(), right, rtol=1e-4):
            raise Broken(
                f"next_token_loss is {loss:.4f}, and the {reduction} cross-entropy of its own logits over the targets "
                f"that are not {IGNORED} is {right:.4f}"
            )
