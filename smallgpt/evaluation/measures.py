"""Measures of the records of one model, or of two on the same questions. The statistics themselves are scipy's."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from smallgpt.evaluation.paired_proportions import paired_interval
from smallgpt.evaluation.records import ItemRecord, TextRecord

LEVEL, Z = 0.95, 1.96
Z_POWER = 0.8416  # normal quantile of 80 % power
ROUNDING = 1e-6  # bits per byte by which equal models may differ, whose products were summed in another order
FEWEST_DOCUMENTS = 20  # for an interval of bits per byte


@dataclass(frozen=True)
class Rate:
    """A share of hits with its 95 % Wilson interval."""

    value: float
    low: float
    high: float
    standard_error: float
    n: int

    @property
    def interval(self) -> list[float]:
        return [self.low, self.high]


@dataclass(frozen=True)
class Average:
    """A mean over items; a single item has neither error nor interval."""

    value: float
    standard_error: float | None
    interval: list[float] | None
    """Normal 95 % interval of the mean."""


def rate(hits: Sequence[bool]) -> Rate:
    """Share of hits with its 95 % Wilson interval. Raises ValueError where there is nothing to count."""
    if not hits:
        raise ValueError("a rate of nothing")
    from scipy import stats

    count, n = sum(map(bool, hits)), len(hits)
    share = count / n
    interval = stats.binomtest(count, n).proportion_ci(LEVEL, method="wilson")
    return Rate(share, float(interval.low), float(interval.high), math.sqrt(share * (1 - share) / n), n)


def accuracy(items: Sequence[ItemRecord]) -> Rate:
    """Share of items whose likeliest option is the right one."""
    return rate([item.choice == item.gold for item in items])


def accuracy_by_characters(items: Sequence[ItemRecord]) -> Rate | None:
    """Accuracy by log-likelihood per character, the harness's acc_norm.

    It is None where options fill a gap, since all of them score the same text.
    """
    return _by_length(items, len)


def accuracy_by_bytes(items: Sequence[ItemRecord]) -> Rate | None:
    """Accuracy by log-likelihood per byte, the harness's acc_bytes; None where options fill a gap."""
    return _by_length(items, _bytes)


def _by_length(items: Sequence[ItemRecord], length: Callable[[str], int]) -> Rate | None:
    if any(item.scored != item.options for item in items):
        return None
    lengths = [[length(option) for option in item.options] for item in items]
    choices = [np.argmax(np.divide(item.loglikelihoods, n)) for item, n in zip(items, lengths, strict=True)]
    return rate([choice == item.gold for choice, item in zip(choices, items, strict=True)])


def _bytes(text: str) -> int:
    return len(text.encode())


def margin(items: Sequence[ItemRecord]) -> Average:
    """How much likelier the right option is than the likeliest wrong one, in nats per byte of what was scored."""
    margins = []
    for item in items:
        # where a gap is the end of the text nothing is scored: 0 nats, 0 bytes
        per_byte = [nats / max(1, _bytes(text)) for nats, text in zip(item.loglikelihoods, item.scored, strict=True)]
        margins.append(per_byte.pop(item.gold) - max(per_byte))
    return _average(margins)


def _average(values: Sequence[float]) -> Average:
    mean = float(np.mean(values))
    if len(values) < 2:
        return Average(mean, None, None)
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Average(mean, error, [mean - Z * error, mean + Z * error])


def chance(items: Sequence[ItemRecord]) -> float:
    """Accuracy that guessing at random is expected to have."""
    return float(np.mean([1 / len(item.options) for item in items]))


def majority(items: Sequence[ItemRecord]) -> float:
    """Accuracy of always choosing the position that is right most often."""
    return max(Counter(item.gold for item in items).values()) / len(items)


def shortest(items: Sequence[ItemRecord]) -> float:
    """Accuracy expected of choosing the option with the fewest tokens, any of them where several have."""
    fewest = [_fewest_tokens(item) for item in items]
    return float(np.mean([(item.gold in some) / len(some) for item, some in zip(items, fewest, strict=True)]))


def _fewest_tokens(item: ItemRecord) -> set[int]:
    return {i for i, tokens in enumerate(item.tokens) if tokens == min(item.tokens)}


def at_chance(rate: Rate, level: float) -> bool:
    """Whether the items cannot tell the rate from guessing: its interval holds the level of chance."""
    return rate.low <= level <= rate.high


def score_items(items: Sequence[ItemRecord]) -> dict[str, Any]:
    """Computes every measure of a multiple-choice task; likelihoods in nats. Raises ValueError without items."""
    right = accuracy(items)
    by_characters, by_bytes = accuracy_by_characters(items), accuracy_by_bytes(items)
    gap, level = margin(items), chance(items)
    scores: dict[str, Any] = {
        "accuracy": right.value,
        "standard_error": right.standard_error,
        "interval": right.interval,
        "n": right.n,
        "accuracy_by_characters": by_characters and by_characters.value,
        "accuracy_by_characters_interval": by_characters and by_characters.interval,
        "accuracy_by_bytes": by_bytes and by_bytes.value,
        "accuracy_by_bytes_interval": by_bytes and by_bytes.interval,
        "margin": gap.value,
        "margin_interval": gap.interval,
        "chance": level,
        "majority": majority(items),
        "shortest": shortest(items),
        "at_chance": at_chance(right, level),
        "cut_items": sum(item.cut > 0 for item in items),
    }
    taken = [(int(np.argmax(item.faulty)), item) for item in items if item.faulty is not None]
    if len(taken) == len(items):
        scores["paper_scoring"] = {
            "accuracy": sum(choice == item.gold for choice, item in taken) / len(items),
            "agreement_with_shortest": sum(choice in _fewest_tokens(item) for choice, item in taken) / len(items),
        }
    return scores


def compare_items(first: Sequence[ItemRecord], second: Sequence[ItemRecord]) -> dict[str, Any]:
    """Accuracy of a second model less that of a first on the same items, matched by id.

    `p` is McNemar's exact test and decides the verdict on the second model; the interval agrees with it. `items_needed`
    would show this difference with 80 % power at 5 %, two-sided: the normal approximation of McNemar's test,
    (1.96 + 0.8416)² q / difference² with q the share of discordant items. Raises ValueError where the ids are not the
    same.
    """
    from scipy import stats

    pairs = _matched(first, second)
    gaps = [(b.choice == b.gold) - (a.choice == a.gold) for a, b in pairs]
    gained, lost, n = gaps.count(1), gaps.count(-1), len(gaps)
    discordant, difference = (gained + lost) / n, (gained - lost) / n
    p = float(stats.binomtest(gained, gained + lost).pvalue) if discordant else 1.0
    return {
        "difference": difference,
        "interval": list(paired_interval(gained, lost, n)),
        "p": p,
        "discordant": discordant,
        "verdict": "no difference" if p > 1 - LEVEL else "better" if difference > 0 else "worse",
        "items_needed": math.ceil((Z + Z_POWER) ** 2 * discordant / difference**2) if difference else None,
        "n": n,
    }


def _matched(first: Sequence[Any], second: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Pairs of records of one id, in the order of the first."""
    others = {record.id: record for record in second}
    ids = {record.id for record in first}
    if not ids or ids != others.keys() or not len(ids) == len(first) == len(second):
        raise ValueError(f"not the same items: {len(first)} and {len(second)}, {len(ids & others.keys())} in common")
    return [(record, others[record.id]) for record in first]


def text_score(texts: Sequence[TextRecord]) -> dict[str, Any]:
    """Bits per byte, perplexity per token, and exact match where there are prompts. Raises ValueError without text.

    Bits per byte are not comparable with another tokenizer's where the tokens do not give the text back.
    """
    import torch

    from smallgpt.text_metrics import text_metrics

    losses, sizes, tokens = ([-t.loglikelihood for t in texts], [t.bytes for t in texts], [t.tokens for t in texts])
    interval = _interval_per_byte(losses, sizes)
    metrics = text_metrics()
    metrics.update(
        nats=torch.tensor(losses, dtype=torch.float64), tokens=torch.tensor(tokens), bytes=torch.tensor(sizes)
    )
    found = {name: value.item() for name, value in metrics.compute().items()}
    scores = {
        "bits_per_byte": found["bits_per_byte"],
        "bits_per_byte_interval": interval,
        "loss": found["loss"],
        "token_perplexity": found["perplexity"],
        "n": len(texts),
        "bytes": sum(sizes),
        "tokens": sum(tokens),
        "bits_per_byte_comparable": not any(text.lost for text in texts),
        "lost_characters": sum(text.lost for text in texts),
    }
    greedy = [text.greedy for text in texts if text.greedy is not None]
    if len(greedy) == len(texts):
        exact = rate(greedy)
        scores |= {"exact_match": exact.value, "exact_match_interval": exact.interval}
        scores["exact_match_standard_error"] = exact.standard_error
    return scores


def compare_texts(first: Sequence[TextRecord], second: Sequence[TextRecord]) -> dict[str, Any]:
    """Bits per byte of a second model less those of a first on the same documents; less is better.

    Interval and verdict (on the second) are None for fewer than 20 documents. Raises ValueError where ids or bytes
    are not the same.
    """
    pairs = _matched(first, second)
    if any(a.bytes != b.bytes for a, b in pairs):
        raise ValueError("not the same texts: their bytes differ")
    import torch

    from smallgpt.text_metrics import BitsPerByte

    losses, sizes = [a.loglikelihood - b.loglikelihood for a, b in pairs], [a.bytes for a, _ in pairs]
    interval, metric = _interval_per_byte(losses, sizes), BitsPerByte()
    metric.update(torch.tensor(losses, dtype=torch.float64), torch.tensor(sizes))
    value = metric.compute().item()
    verdict = None
    if interval:
        none = interval[0] <= 0 <= interval[1] or abs(value) < ROUNDING
        verdict = "no difference" if none else "better" if value < 0 else "worse"
    return {"difference": value, "interval": interval, "verdict": verdict, "n": len(pairs)}


def _interval_per_byte(losses: Sequence[float], sizes: Sequence[int]) -> list[float] | None:
    """The 95 % interval of the bits per byte of documents, from losses in nats; see `ratio_interval`."""
    if not sum(sizes):
        raise ValueError("no text: nothing has any bytes")
    return ratio_interval([loss / math.log(2) for loss in losses], sizes)


def ratio_interval(amounts: Sequence[float], sizes: Sequence[int]) -> list[float] | None:
    """The 95 % interval of sum(amounts) / sum(sizes) over other documents of the same kind; None for fewer than 20.

    What each document adds to the ratio's error is its residual, made as much larger as the document pulls the ratio
    towards itself (the jackknife's, HC3), and the t quantile is that of as many documents as there would be of equal
    size, by Kish's count. With documents of 19 bytes to 172 kB, as files of code are, it covers 94 to 95 % where a
    percentile bootstrap covers 87 % (20 documents) and 90 % (50), and a bias-corrected one 84 % and 87 %.
    """
    if len(sizes) < FEWEST_DOCUMENTS:
        return None
    from scipy import stats

    amount_N, size_N = np.asarray(amounts, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    ratio, weight_N, n = amount_N.sum() / size_N.sum(), size_N / size_N.sum(), len(size_N)
    residual_N = (amount_N - ratio * size_N) / np.maximum(1 - weight_N, 1e-9)  # one document may be all of the text
    error = math.sqrt((n - 1) / n * float((residual_N**2).sum())) / float(size_N.sum())
    equal = 1 / float((weight_N**2).sum())
    reach = float(stats.t.ppf((1 + LEVEL) / 2, max(equal - 1, 1))) * error
    return [float(ratio) - reach, float(ratio) + reach] if math.isfinite(reach) else None
