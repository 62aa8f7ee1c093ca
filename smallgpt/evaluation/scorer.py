"""Log-likelihoods of many continuations: the engine behind every measure of this room.

A context that several continuations share is read once and its cache copied for each; batches hold what is of like
length; logits are made only where they are scored. Letters in names: G contexts of a batch, R rows (one a
continuation), L length of the contexts, T of the continuations, S of both together, V vocabulary.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.cache_utils import Cache

BATCH_TOKENS = 16_384  # of one forward pass
BATCH_LOGITS = 2**26  # 268 MB in fp32
STRETCH, SLACK = 1.25, 4  # the longest row of a pass has at most so many times, and tokens more than, the shortest
UNSCORED = -1

Tokens = tuple[int, ...]


class Model(Protocol):
    """Protocol of a causal model of `transformers`, or of what answers as one."""

    config: Any
    """Config that says the vocabulary's size, and how long the context is."""
    forward: Any
    """Function whose signature shows whether it takes `position_ids`."""

    @property
    def device(self) -> torch.device: ...

    def eval(self) -> Any: ...

    def __call__(self, *, input_ids: Tensor, logits_to_keep: int, use_cache: bool, **given: Any) -> Any:
        """An object with `logits` (R, at least the last `logits_to_keep`, V); `attention_mask` where there is padding.

        A scorer that shares contexts also needs `past_key_values`.
        """


@dataclass(frozen=True)
class Request:
    """Tokens to score after tokens that are given; neither may be empty."""

    context: Tokens
    continuation: Tokens


@dataclass(frozen=True)
class Score:
    """Score of one continuation after its context."""

    loglikelihood: float
    """Log-likelihood log p(continuation | context), in nats."""
    greedy: bool
    """Whether greedy decoding gives the continuation."""
    faulty: float = 0.0
    """Log p summed over the whole vocabulary after each token, as the code of arXiv 2404.14462 scores an option.

    It is there with `Scorer(faulty=True)` alone.
    """
    cut: int = 0
    """Tokens of the context, from its beginning, that the model had no room for."""


def pieces(request: Request, max_length: int) -> list[Request]:
    """Splits a request whose continuation is longer than the context into parts that each follow what lies before."""
    context, continuation = request.context, request.continuation
    if len(continuation) <= max_length:
        return [request]
    step = max(1, max_length // 2)  # so that every token sees at least half of the context
    starts = range(0, len(continuation), step)
    return [Request(context + continuation[:start], continuation[start : start + step]) for start in starts]


def total(scores: Sequence[Score]) -> Score:
    """Adds up the scores of the pieces of one continuation."""
    return Score(
        sum(score.loglikelihood for score in scores),
        all(score.greedy for score in scores),
        sum(score.faulty for score in scores),
        scores[0].cut,  # a later piece stands further on, and leaves out what earlier ones were scored with
    )


class Scorer:
    """Scores requests with a causal model, in its own precision and on its own device."""

    def __init__(self, model: Model, max_length: int, share: bool = True, faulty: bool = False):
        """
        Args:
            max_length: tokens of the model's context; a longer context loses its beginning.
            share: read a context once for all of its continuations.
            faulty: make the authors' score too.
        """
        model.eval()
        self.model, self.max_length, self.faulty = model, max_length, faulty
        self.share = share and getattr(model.config, "can_cache", True)
        self.vocabulary = model.config.get_text_config().vocab_size
        self.takes_positions = "position_ids" in signature(model.forward).parameters

    @torch.inference_mode()
    def score(self, requests: Sequence[Request], advance: Callable[[int], None] = lambda done: None) -> list[Score]:
        """Scores requests and returns the scores in their order; equal requests are scored once.

        Args:
            advance: called after each batch with the number of requests that it has settled.

        Raises:
            ValueError: an empty context or continuation, or a continuation longer than the model's context.
        """
        places: dict[Request, list[int]] = {}
        cut = []
        for place, request in enumerate(requests):
            kept = self._cut(request)
            places.setdefault(kept, []).append(place)
            cut.append(len(request.context) - len(kept.context))
        scores: dict[int, Score] = {}
        for batch in self._batches(places):
            settled = {place: score for request, score in batch for place in places[request]}
            scores |= settled
            advance(len(settled))
        return [replace(scores[place], cut=tokens) for place, tokens in enumerate(cut)]

    def _cut(self, request: Request) -> Request:
        """The request with as much of its context as the model has room for."""
        if not request.context or not request.continuation:
            raise ValueError("a context and a continuation need at least one token each")
        room = self.max_length + (0 if self.faulty else 1) - len(request.continuation)
        if room < 1:
            raise ValueError(f"a continuation of {len(request.continuation)} tokens; the context is {self.max_length}")
        return Request(request.context[-room:], request.continuation)

    def _batches(self, requests: Iterable[Request]) -> Iterator[list[tuple[Request, Score]]]:
        groups: dict[Tokens, list[Request]] = {}
        for request in requests:
            groups.setdefault(request.context, []).append(request)
        # a context of one token is read as fast again as its cache is copied
        shared = [group for context, group in groups.items() if self.share and len(group) > 1 and len(context) > 1]
        ours = {request for group in shared for request in group}
        alone = [request for group in groups.values() for request in group if request not in ours]
        for batch in self._cut_up(shared, lambda group: len(group[0].context)):
            yield self._score_shared(batch)
        for rows in self._cut_up(
            [[request] for request in alone], lambda row: len(row[0].context + row[0].continuation)
        ):
            yield self._score_alone([row[0] for row in rows])

    def _cut_up(
        self, groups: list[list[Request]], length: Callable[[list[Request]], int]
    ) -> Iterator[list[list[Request]]]:
        """Batches of groups of like length that fit into memory, the longest first."""
        batch: list[list[Request]] = []
        tokens = logits = 0
        for group in sorted(groups, key=length, reverse=True):
            more = sum(len(request.context + request.continuation) for request in group)
            scored = sum(len(request.continuation) + 1 for request in group) * self.vocabulary
            fits = tokens + more <= BATCH_TOKENS and logits + scored <= BATCH_LOGITS
            if batch and not (fits and length(batch[0]) <= STRETCH * length(group) + SLACK):
                yield batch
                batch, tokens, logits = [], 0, 0
            batch.append(group)
            tokens, logits = tokens + more, logits + scored
        if batch:
            yield batch

    def _score_alone(self, requests: list[Request]) -> list[tuple[Request, Score]]:
        """One row a request, padded on the left, so that what is scored lies in the last columns."""
        last = None if self.faulty else -1  # nothing follows the last token that would be scored
        rows = [(request.context + request.continuation)[:last] for request in requests]
        ids_RL, mask_RL = self._padded(rows, side="left")
        targets_RT = self._targets([request.continuation for request in requests], side="left")
        keep = targets_RT.shape[1] + (1 if self.faulty else 0)
        logits_RTV = self._forward(ids_RL, mask_RL, keep)[0]
        logp_R, greedy_R = likelihood(logits_RTV[:, : targets_RT.shape[1]], targets_RT)
        faulty_R = over_vocabulary(logits_RTV[:, 1:], targets_RT) if self.faulty else torch.zeros_like(logp_R)
        return list(zip(requests, scores_of(logp_R, greedy_R, faulty_R), strict=True))

    def _score_shared(self, groups: list[list[Request]]) -> list[tuple[Request, Score]]:
        """The contexts first, then the continuations behind copies of their caches."""
        requests = [request for group in groups for request in group]
        owner = [g for g, group in enumerate(groups) for _ in group]
        ids_GL, mask_GL = self._padded([group[0].context for group in groups], side="left")
        longer = self.faulty or any(len(request.continuation) > 1 for request in requests)
        logits_G1V, cache = self._forward(ids_GL, mask_GL, 1, use_cache=longer)
        firsts_R1 = self._targets([request.continuation[:1] for request in requests], side="left")
        # row by row of the contexts, not of the continuations: their distribution is the same
        logp_R, greedy_R = likelihood(logits_G1V, firsts_R1, torch.tensor(owner, device=firsts_R1.device))
        faulty_R = torch.zeros_like(logp_R)
        order = sorted(range(len(requests)), key=lambda r: len(requests[r].continuation))
        order = [r for r in order if self.faulty or len(requests[r].continuation) > 1]
        for rows in runs_of_like_length(order, [len(request.continuation) for request in requests]):
            behind = self._behind(cache, mask_GL, [owner[r] for r in rows], [requests[r].continuation for r in rows])
            at = torch.tensor(rows, device=logp_R.device)
            logp_R[at] += behind[0]
            greedy_R[at] &= behind[1]
            faulty_R[at] += behind[2]
        return list(zip(requests, scores_of(logp_R, greedy_R, faulty_R), strict=True))

    def _behind(
        self, cache: Cache, mask_GL: Tensor, owner: list[int], continuations: list[Tokens]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of the continuations without their first token, behind the caches of their contexts."""
        last = None if self.faulty else -1
        ids_RT, mask_RT = self._padded([continuation[:last] for continuation in continuations], side="right")
        owner_R = torch.tensor(owner, device=ids_RT.device)
        own = copy.deepcopy(cache)
        own.reorder_cache(owner_R)  # ty: ignore[invalid-argument-type]  # the library names a legacy type
        mask_RS = torch.cat((mask_GL[owner_R], torch.ones_like(mask_RT)), dim=1)  # padding behind is never seen
        logits_RTV = self._forward(ids_RT, mask_RS, ids_RT.shape[1], cache=own)[0]
        targets_RT = self._targets([continuation[1:] for continuation in continuations], ids_RT.shape[1])
        logp_R, greedy_R = likelihood(logits_RTV, targets_RT)
        if not self.faulty:
            return logp_R, greedy_R, torch.zeros_like(logp_R)
        read_RT = torch.where(mask_RT.bool(), ids_RT, UNSCORED)
        return logp_R, greedy_R, over_vocabulary(logits_RTV, read_RT)

    def _forward(
        self, ids_RT: Tensor, mask_RS: Tensor, keep: int, use_cache: bool = False, cache: Cache | None = None
    ) -> tuple[Tensor, Cache]:
        """Logits of the last `keep` columns, and the cache if there is one."""
        T = ids_RT.shape[1]
        given: dict[str, Any] = {}
        if not mask_RS.all():
            given["attention_mask"] = mask_RS
        if self.takes_positions:
            # columns of padding may lie past the last position that the model knows
            position_RS = (mask_RS.cumsum(-1) - 1).clamp(0, self.max_length - 1)
            given["position_ids"] = position_RS[:, -T:]
        cached = {"past_key_values": cache, "use_cache": True} if cache is not None else {"use_cache": use_cache}
        out = self.model(input_ids=ids_RT, logits_to_keep=keep, **given, **cached)
        return out.logits[:, -keep:], out.past_key_values

    def _padded(self, rows: Sequence[Tokens], side: str) -> tuple[Tensor, Tensor]:
        """Token ids and which of them are real, (R, longest)."""
        ids_RT = self._targets(rows, side=side)
        mask_RT = (ids_RT != UNSCORED).long()
        return ids_RT.clamp(min=0), mask_RT

    def _targets(self, rows: Sequence[Tokens], length: int = 0, side: str = "right") -> Tensor:
        """Token ids, -1 where a row has none, (R, longest or `length`)."""
        columns = pad_sequence(
            [torch.tensor(row, dtype=torch.long) for row in rows],
            batch_first=True,
            padding_value=UNSCORED,
            padding_side=side,
        )
        missing = max(0, length - columns.shape[1])
        return torch.nn.functional.pad(columns, (0, missing), value=UNSCORED).to(self.model.device)


def runs_of_like_length(order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    """Cuts a sequence that is sorted by length where the next is much longer than the first."""
    run: list[int] = []
    for i in order:
        if run and lengths[i] > STRETCH * lengths[run[0]] + SLACK:
            yield run
            run = []
        run.append(i)
    if run:
        yield run


def likelihood(logits_GTV: Tensor, targets_RT: Tensor, owner_R: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Sums log p over the scored targets of each row, and tells whether each is the most likely token, (R).

    Args:
        owner_R: the row of the logits that a row of targets reads, where several read one.
    """
    if owner_R is None:
        owner_R = torch.arange(len(targets_RT), device=targets_RT.device)
    scored_RT = targets_RT != UNSCORED
    logits_GTV = logits_GTV.float()  # once for all that follows: argmax is slow in bf16
    total_GT = logits_GTV.logsumexp(-1)
    best_GT = logits_GTV.argmax(-1)
    column_1T = torch.arange(targets_RT.shape[1], device=targets_RT.device)[None]
    picked_RT = logits_GTV[owner_R[:, None], column_1T, targets_RT.clamp(min=0)]
    logp_RT = torch.where(scored_RT, picked_RT - total_GT[owner_R], 0.0)
    greedy_RT = (best_GT[owner_R] == targets_RT) | ~scored_RT
    return logp_RT.double().sum(-1), greedy_RT.all(-1)


def over_vocabulary(logits_RTV: Tensor, read_RT: Tensor) -> Tensor:
    """Sums log p over the vocabulary and over the positions whose input is a token of the option, (R)."""
    logits_RTV = logits_RTV.float()
    each_RT = logits_RTV.sum(-1) - logits_RTV.shape[-1] * logits_RTV.logsumexp(-1)
    return torch.where(read_RT != UNSCORED, each_RT, 0.0).double().sum(-1)


def scores_of(logp_R: Tensor, greedy_R: Tensor, faulty_R: Tensor) -> list[Score]:
    """Makes scores out of their numbers in tensors, (R) each."""
    return [Score(*row) for row in zip(logp_R.tolist(), greedy_R.tolist(), faulty_R.tolist(), strict=True)]
