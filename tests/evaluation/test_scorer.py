"""Scores against the plainest way to make them: one request at a time, all of its logits, no cache."""

import random

import pytest
import torch
from helpers import CASES, SMALL, Case, build_model

from smallgpt.evaluation.scorer import Request, Score, Scorer, pieces, total

KERNEL = Case("convgpt", "gpt2", {"kernel_size": 4, "downsample_position": 1, "downsample_frequency": 1})
LENGTH, VOCABULARY = SMALL["block_size"], SMALL["vocab_size"]
TOKENS = [3, 1, 4, 1, 5, 9, 2, 6] * 8


def peaked(case: Case) -> torch.nn.Module:
    """Weights so large that the distribution is far from flat and every part of the model is felt."""
    model = build_model(case)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.15 * torch.randn(p.shape, generator=generator))
    return model


@torch.no_grad()
def plain(model: torch.nn.Module, request: Request, faulty: bool) -> Score:
    n = len(request.continuation)
    # the last token is read for the faulty score alone
    ids = torch.tensor([(request.context + request.continuation)[-LENGTH - (not faulty) :]])
    logp_TV = model(ids if faulty else ids[:, :-1], use_cache=False).logits[0].log_softmax(-1)
    scored_TV = logp_TV[-n - 1 : -1] if faulty else logp_TV[-n:]
    targets_T = torch.tensor(request.continuation)
    greedy = bool((scored_TV.argmax(-1) == targets_T).all())
    over = float(logp_TV[-n:].double().sum()) if faulty else 0.0
    return Score(float(scored_TV[range(n), targets_T].double().sum()), greedy, over)


def random_requests(seed: int, limit: int) -> list[Request]:
    """Contexts shorter and longer than the model's, continuations of 1 to `limit` tokens, some of them twice."""
    draw = random.Random(seed)
    requests = []
    for length in [1, 1, 2, 3, 5, 8, 12, 13, 19, 30, LENGTH, LENGTH + 1, 2 * LENGTH]:
        context = tuple(draw.choices(range(VOCABULARY), k=length))
        for _ in range(draw.choice([1, 1, 2, 4])):
            n = draw.choice([1, 2, 3, 7, draw.randint(1, limit)])
            requests.append(Request(context, tuple(draw.choices(range(VOCABULARY), k=n))))
    requests += draw.sample(requests, 4)
    draw.shuffle(requests)
    return requests


def assert_close(found: list[Score], expected: list[Score]) -> None:
    assert [s.greedy for s in found] == [s.greedy for s in expected]
    assert [s.loglikelihood for s in found] == pytest.approx([s.loglikelihood for s in expected], abs=1e-4, rel=0)
    assert [s.faulty for s in found] == pytest.approx([s.faulty for s in expected], rel=1e-5)


@pytest.mark.parametrize("faulty", [False, True], ids=["true", "faulty"])
@pytest.mark.parametrize("case", [*CASES, KERNEL], ids=str)
def test_scores_are_those_of_one_request_at_a_time(case: Case, faulty: bool) -> None:
    model = peaked(case)
    requests = random_requests(seed=0, limit=LENGTH - 1)
    greedy = model.generate(torch.tensor([TOKENS[:6]]), max_new_tokens=4, do_sample=False)[0, 6:].tolist()
    requests += [Request(tuple(TOKENS[:6]), tuple(greedy)), Request(tuple(TOKENS[:6]), (*greedy[:3], 0, 0))]
    expected = [plain(model, request, faulty) for request in requests]
    assert expected[-2].greedy and len({round(score.loglikelihood, 2) for score in expected}) > 20
    for share in (True, False):
        assert_close(Scorer(model, LENGTH, share=share, faulty=faulty).score(requests), expected)


def test_small_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = peaked(KERNEL)
    requests = random_requests(seed=1, limit=LENGTH)
    monkeypatch.setattr("smallgpt.evaluation.scorer.BATCH_TOKENS", 40)
    assert_close(Scorer(model, LENGTH).score(requests), [plain(model, request, False) for request in requests])


def test_every_request_is_reported_once_and_equal_ones_are_scored_once() -> None:
    requests = random_requests(seed=2, limit=5)
    settled: list[int] = []
    scorer = Scorer(peaked(KERNEL), LENGTH)
    scores = scorer.score(requests * 2, settled.append)
    assert sum(settled) == len(requests) * 2 and scores[: len(requests)] == scores[len(requests) :]
    assert scorer.score([]) == []


def test_a_context_without_room_says_what_it_lost() -> None:
    context, again = tuple(TOKENS[: LENGTH + 3]), tuple(TOKENS[1 : LENGTH + 3])  # the same once they are cut
    scores = Scorer(peaked(KERNEL), LENGTH).score([Request(one, (7, 8)) for one in (context, again, (5, 6))])
    assert [score.cut for score in scores] == [4, 3, 0]
    assert scores[0].loglikelihood == scores[1].loglikelihood and total(scores[:2]).cut == 4


@pytest.mark.parametrize("n", [LENGTH, LENGTH + 1, 50, 64])
def test_pieces_of_a_long_continuation_add_up(n: int) -> None:
    """Each token sees at least half of the model's context, and every token is scored once."""
    model = peaked(KERNEL)
    request = Request((7, 8, 9), tuple(TOKENS[:n]))
    parts = pieces(request, LENGTH)
    assert sum((part.continuation for part in parts), ()) == request.continuation
    assert (parts == [request]) == (n <= LENGTH)
    for part in parts:
        whole = request.context + request.continuation
        assert whole[: len(part.context + part.continuation)] == part.context + part.continuation
        assert len(part.continuation) <= LENGTH // 2 or n <= LENGTH
    expected = [plain(model, part, False) for part in parts]
    found = total(Scorer(model, LENGTH).score(parts))
    assert found.loglikelihood == pytest.approx(sum(score.loglikelihood for score in expected), abs=1e-4)
    assert found.greedy == all(score.greedy for score in expected)


def test_total_is_greedy_where_all_pieces_are() -> None:
    assert total([Score(-1, True, -5), Score(-2, True, -6)]) == Score(-3, True, -11)
    assert not total([Score(-1, True), Score(-2, False)]).greedy


@pytest.mark.parametrize(
    ("request_", "faulty", "words"),
    [
        (Request((), (1,)), False, "at least one token"),
        (Request((1,), ()), False, "at least one token"),
        (Request((1,), (2,) * (LENGTH + 1)), False, f"{LENGTH + 1} tokens; the context is {LENGTH}"),
        (Request((1,), (2,) * LENGTH), True, f"{LENGTH} tokens; the context is {LENGTH}"),
    ],
    ids=["no context", "no continuation", "too long", "too long for the faulty score"],
)
def test_what_cannot_be_scored(request_: Request, faulty: bool, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Scorer(build_model(Case("gpt")), LENGTH, faulty=faulty).score([request_])
