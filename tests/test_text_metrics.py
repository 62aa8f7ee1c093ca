"""Metrics of text: exact for every way to cut the text and to share it out, and never mistaken for one another."""

import math

import pytest
import torch

from smallgpt.text_metrics import BitsPerByte, MeanLoss, TokenPerplexity, text_metrics

# nats, tokens and bytes of pieces; those of the first are equal, as a byte-level tokenizer makes them
PIECES = [(2.5, 4, 4), (1e-9, 1, 3), (700.25, 90, 411), (0.0, 0, 0), (3e7, 5, 17)]
NATS, TOKENS, BYTES = (torch.tensor(column, dtype=torch.float64) for column in zip(*PIECES, strict=True))


def expected() -> dict[str, float]:
    nats, tokens, size = (float(column.sum()) for column in (NATS, TOKENS, BYTES))
    loss = nats / tokens
    return {"loss": loss, "perplexity": math.exp(min(loss, 700)), "bits_per_byte": nats / math.log(2) / size}


def found(metrics) -> dict[str, float]:
    return {name: value.item() for name, value in metrics.compute().items()}


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_the_same_however_the_text_is_cut(cut: int):
    metrics = text_metrics()
    for _ in range(2):  # the first validation is forgotten
        metrics.reset()
        for begin in range(0, len(PIECES), cut):
            piece = slice(begin, begin + cut)
            metrics.update(nats=NATS[piece], tokens=TOKENS[piece].long(), bytes=BYTES[piece].long())
        assert found(metrics) == pytest.approx(expected(), rel=1e-15)
    assert not metrics.state_dict(), "no run stops inside a validation"


def test_the_library_adds_up_what_processes_have():
    metrics = text_metrics()
    metrics.update(nats=NATS[:2], tokens=TOKENS[:2].long(), bytes=BYTES[:2].long())
    rest = {"nats": NATS[2:].sum(), "tokens": TOKENS[2:].sum().long(), "bytes": BYTES[2:].sum().long()}
    for name, metric in metrics.items():
        held = [rest["nats"], rest["bytes" if name == "bits_per_byte" else "tokens"]]  # in the order of the states
        other = iter(held)
        metric.distributed_available_fn = lambda: True
        metric.dist_sync_fn = lambda state, group=None, other=other: [state, next(other)]
    assert found(metrics) == pytest.approx(expected(), rel=1e-15)


def test_small_sums_are_not_lost_in_single_precision():
    metric = BitsPerByte()
    metric.update(torch.tensor(2.0**30), torch.tensor(2**40))
    for _ in range(3):
        metric.update(torch.tensor(0.25), torch.tensor(1))
    assert metric.nats.item() == 2.0**30 + 0.75 and metric.count.item() == 2**40 + 3


def test_a_perplexity_that_no_float_can_hold_is_cut_off():
    loss, perplexity = MeanLoss(), TokenPerplexity()
    for metric in (loss, perplexity):
        metric.update(torch.tensor([1e6]), torch.tensor([1]))
    assert loss.compute().item() == 1e6 and perplexity.compute().item() == pytest.approx(math.exp(700), rel=1e-12)
