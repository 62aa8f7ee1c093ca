"""Logits of a small model, and where they are not what they should be.

Letters in names: R rows of a batch, T time, V vocabulary. Positions are counted from 1 in messages.
"""

import torch
from torch import Tensor

from smallgpt.models.configuration import DecoderConfig
from smallgpt.models.decoder import Decoder

TOLERANCE = 2e-4  # of the largest logit; rounding stays far below


class Broken(ValueError):
    """A model breaks the contract; the message is one line."""


def tokens(config: DecoderConfig, rows: int, length: int) -> Tensor:
    """Random ids (R, T), the same each time."""
    generator = torch.Generator().manual_seed(rows * length)
    return torch.randint(config.vocab_size, (rows, length), generator=generator)


def read(model: Decoder, ids_RT: Tensor) -> Tensor:
    """Logits (R, T, V) without a cache."""
    logits_RTV = model(ids_RT, use_cache=False).logits
    right = (*ids_RT.shape, model.config.vocab_size)
    if logits_RTV.shape != right:
        raise Broken(f"logits have the shape {tuple(logits_RTV.shape)}, not {right}: texts, tokens, vocab_size")
    return logits_RTV


def compare(part_RTV: Tensor, right_RTV: Tensor, when: str, remedy: str = "", start: int = 0) -> None:
    """Raise Broken for the first position whose logits differ, counted from `start`; right ones may go on longer."""
    right_RTV = right_RTV[:, : part_RTV.shape[1]]
    off_RT = (part_RTV - right_RTV).abs().amax(-1)
    wrong_T = ~(off_RT <= TOLERANCE * right_RTV.abs().max()).all(0)  # what is not a number is wrong too
    if wrong_T.any():
        position = int(wrong_T.nonzero()[0])
        change = (
            f"the logits of position {start + position + 1} change by {float(off_RT[:, position].max()):.2g} {when}"
        )
        raise Broken(f"{change}; {remedy}" if remedy else change)
