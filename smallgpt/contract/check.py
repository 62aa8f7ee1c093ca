"""The check of a whole model: the first thing in which it breaks the contract, found on a small copy.

Nothing is known of a mechanism that reaches farther than the copy's 512 tokens.
"""

from collections.abc import Generator
from contextlib import contextmanager

import torch

from smallgpt.contract.causality import check_gradients, check_gradients_far, check_repetition
from smallgpt.contract.counted_cost import check_cost
from smallgpt.contract.logits import Broken, tokens
from smallgpt.contract.reading import check_cache, check_cache_size, check_length, check_loss, check_padding, uneven
from smallgpt.contract.small_copy import small_copy
from smallgpt.models.configuration import DecoderConfig
from smallgpt.models.decoder import Decoder

SHORT = 16  # tokens of the text of which every position is looked at
NOISE = 0.1  # added to the weights, so that nothing is silent, as what begins at zero would be


def check_contract(model_class: type[Decoder], config: DecoderConfig) -> None:
    """Raise Broken, one line, for the first thing that the model of `config` does not keep."""
    with torch.random.fork_rng(devices=[]), one_line():
        torch.manual_seed(0)
        with torch.device("meta"):
            model = model_class(config)
        small = model_class(small_copy(config))
        check_mechanism(with_noise(small))
        check_cost(model, small)


def with_noise(model: Decoder) -> Decoder:
    """Makes the weights differ from their first values, the same each time."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += NOISE * torch.randn(parameter.shape, generator=generator)
    return model


def check_mechanism(model: Decoder) -> None:
    """Raise ValueError for the first thing that a small model on the CPU does not keep, whatever its weights."""
    config, T = model.config, min(SHORT, model.config.block_size)
    for training, mode in ((False, ""), (True, " in training")):
        model.train(training)
        check_gradients(model, tokens(config, T, T), mode)
        check_repetition(model, tokens(config, 1, T), mode)
    model.eval()
    ids_RT = tokens(config, 3, T)
    check_length(model, ids_RT)
    check_loss(model, ids_RT)
    if config.can_cache:
        check_cache(model, ids_RT, uneven(T), "in pieces")
        check_cache(model, ids_RT, [1] * T, "token by token")
        check_cache_size(model, ids_RT[:1])
    check_padding(model, ids_RT)
    if (length := config.block_size) > T:
        middle, third = length // 2, length // 3 + 1
        ids_RT = tokens(config, 2, length)
        check_gradients_far(model, ids_RT, [middle, third])
        if config.can_cache:
            check_cache(model, ids_RT[:1], [third, length - third], "in two pieces")


@contextmanager
def one_line() -> Generator[None]:
    """Turns what goes wrong in the model's own code into Broken, on one line."""
    try:
        yield
    except Broken:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise Broken(f"a small copy cannot be run ({type(error).__name__}: {reason[:200]})") from error
