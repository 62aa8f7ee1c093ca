"""Scores of options as `Scorer` makes them against the obvious loop, at the paper's size, in turn.

    python -m benchmarks.scoring                    # both in fp32
    python -m benchmarks.scoring --precision bf16   # Scorer in bf16, the loop in fp32 as before
    python -m benchmarks.scoring --model lineargpt

The loop: one forward pass an option, context and option together, log_softmax over all of its logits. The questions are
synthetic: 4 options of 10 tokens behind a context of 60. Weights are random. Each side lives in a process of its own,
smallgpt's with a C library that keeps freed memory; the rounds alternate.
"""

import argparse
import multiprocessing
import random
import statistics
import time
from typing import Any

import torch
from transformers import PreTrainedModel

from smallgpt.evaluation.scorer import Request, Scorer
from smallgpt.machine.allocator import keep_freed_memory
from smallgpt.models.gpt import GPT, GPTConfig
from smallgpt.models.lineargpt import LinearGPT, LinearGPTConfig

SIZES = {
    "paper": {"n_layer": 8, "n_head": 8, "n_embd": 512, "block_size": 1024, "vocab_size": 50304},
    "debug": {"n_layer": 4, "n_head": 2, "n_embd": 64, "block_size": 128, "vocab_size": 512},
}
OPTIONS, CONTEXT, OPTION = 4, 60, 10


def build(name: str, size: str, device: str) -> PreTrainedModel:
    torch.manual_seed(0)
    if name == "gpt":
        return GPT(GPTConfig(**SIZES[size])).eval().to(device)
    return LinearGPT(LinearGPTConfig(**SIZES[size], allow_narrow=True)).eval().to(device)


def questions(items: int, vocabulary: int) -> list[Request]:
    """The options of one question after the other."""
    draw = random.Random(0)
    requests = []
    for _ in range(items):
        context = tuple(draw.choices(range(vocabulary), k=CONTEXT))
        requests += [Request(context, tuple(draw.choices(range(vocabulary), k=OPTION))) for _ in range(OPTIONS)]
    return requests


@torch.inference_mode()
def loop(model: PreTrainedModel, requests: list[Request]) -> list[float]:
    scores = []
    for request in requests:
        ids = torch.tensor([request.context + request.continuation], device=model.device)
        logp_TV = model(ids, use_cache=False).logits[0, :-1].float().log_softmax(-1)
        picked_T = logp_TV.gather(1, ids[0, 1:, None])[:, 0]
        scores.append(float(picked_T[-len(request.continuation) :].sum()))
    return scores


def choices(scores: list[float]) -> list[int]:
    each = [scores[i : i + OPTIONS] for i in range(0, len(scores), OPTIONS)]
    return [some.index(max(some)) for some in each]


def side(connection: Any, ours: bool, name: str, size: str, bf16: bool, items: int, device: str = "cpu") -> None:
    """Scores as often as it is asked to, each time answering the seconds and the scores; on a GPU both in bf16."""
    if ours:
        keep_freed_memory()
    model = build(name, size, device)
    model = model.to(torch.bfloat16) if bf16 and (ours or device != "cpu") else model
    requests = questions(items, model.config.vocab_size)
    scorer = Scorer(model, model.config.block_size)
    while connection.recv():
        start = time.perf_counter()
        scores = [score.loglikelihood for score in scorer.score(requests)] if ours else loop(model, requests)
        connection.send((time.perf_counter() - start, scores))


def compare(rounds: int, *given: Any) -> list[list[tuple[float, list[float]]]]:
    """[(seconds, scores) a round] of smallgpt and of the loop, each in a process of its own, after one of warm-up."""
    context = multiprocessing.get_context("spawn")
    ends, processes = [], []
    for ours in (True, False):
        here, there = context.Pipe()
        process = context.Process(target=side, args=(there, ours, *given), daemon=True)
        process.start()
        ends.append(here)
        processes.append(process)
    results: list[list[tuple[float, list[float]]]] = [[], []]
    for _ in range(1 + rounds):
        for end, result in zip(ends, results, strict=True):
            end.send(True)
            result.append(end.recv())
    for end, process in zip(ends, processes, strict=True):
        end.send(False)
        process.join()
    return [result[1:] for result in results]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("gpt", "lineargpt"), default="gpt")
    parser.add_argument("--size", choices=SIZES, default="paper")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of Scorer; the loop has fp32")
    parser.add_argument("--items", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    ours, bare = compare(given.rounds, given.model, given.size, given.precision == "bf16", given.items)
    ratios = [b[0] / o[0] for o, b in zip(ours, bare, strict=True)]
    our_rate, bare_rate = (
        given.items / statistics.median(seconds for seconds, _ in results) for results in (ours, bare)
    )
    print(
        f"{given.model:10} scoring, {OPTIONS} options of {OPTION} tokens behind {CONTEXT}: "
        f"smallgpt in {given.precision} {our_rate:.2f} items/s, "
        f"one at a time in fp32 {bare_rate:.2f} items/s, faster by "
        f"{statistics.median(ratios):.2f} [{min(ratios):.2f}..{max(ratios):.2f}]"
    )
    found, expected = ours[-1][1], bare[-1][1]
    furthest = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    same = sum(a == b for a, b in zip(choices(found), choices(expected), strict=True))
    print(f"{'':10} equal choices: {same} of {given.items}; scores differ by at most {furthest:.2g} nats")
    if given.precision == "fp32" and (furthest > 1e-3 or same < given.items):
        raise SystemExit("the two disagree")


if __name__ == "__main__":
    main()
