"""A training step as smallgpt takes it against a bare PyTorch loop, at the paper's size, in turn.

    python -m benchmarks.training_step            # speed, bf16, 4 x 256 tokens
    python -m benchmarks.training_step --memory   # peak memory, fp32, 16 x 256 tokens

Bare: the whole logits, AdamW with its defaults, clipping, autocast. smallgpt: the same model with the chunked loss,
fused AdamW, the same clipping and a C library that keeps freed memory. Each side lives in a process of its own; the
rounds alternate.
"""

import argparse
import multiprocessing
import resource
import statistics
import time

VARIANTS = ("gpt", "lineargpt")
SIZE = {"n_layer": 8, "n_head": 8, "n_embd": 512, "block_size": 1024, "vocab_size": 50304}
LENGTH = 256


def side(connection, ours: bool, variant: str, batch: int, bf16: bool) -> None:
    """Takes as many steps as it is asked for, each time answering the seconds a step and the peak bytes."""
    import torch
    import torch.nn.functional as F

    from smallgpt.machine.allocator import keep_freed_memory
    from smallgpt.models.gpt import GPT, GPTConfig
    from smallgpt.models.lineargpt import LinearGPT, LinearGPTConfig
    from smallgpt.training.optimizers import AdamW

    if ours:
        keep_freed_memory()
    torch.manual_seed(0)
    if variant == "gpt":
        model = GPT(GPTConfig(**SIZE)).train()
    else:
        model = LinearGPT(LinearGPTConfig(**SIZE, allow_narrow=True)).train()
    optimizer = AdamW().build(model) if ours else torch.optim.AdamW(model.parameters())
    ids = torch.randint(0, SIZE["vocab_size"], (batch, LENGTH + 1))
    inputs, targets = ids[:, :-1], ids[:, 1:]

    def whole_logits() -> torch.Tensor:
        logits = model(inputs).logits
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model.next_token_loss(inputs, targets) if ours else whole_logits()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    while steps := connection.recv():
        start = time.perf_counter()
        for _ in range(steps):
            step()
        seconds = (time.perf_counter() - start) / steps
        connection.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def compare(variant: str, batch: int, bf16: bool, rounds: int, steps: int) -> list[list[tuple]]:
    """[(seconds, bytes) a round] of smallgpt and of the bare loop, after one step of warm-up."""
    context = multiprocessing.get_context("spawn")
    ends, processes = [], []
    for ours in (True, False):
        here, there = context.Pipe()
        process = context.Process(target=side, args=(there, ours, variant, batch, bf16), daemon=True)
        process.start()
        ends.append(here)
        processes.append(process)
    results = [[], []]
    for count in [1] + [steps] * rounds:
        for end, result in zip(ends, results, strict=True):
            end.send(count)
            result.append(end.recv())
    for end, process in zip(ends, processes, strict=True):
        end.send(0)
        process.join()
    return [result[1:] for result in results]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory", action="store_true", help="peak memory instead of speed")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    for variant in VARIANTS:
        if arguments.memory:
            ours, bare = compare(variant, batch=16, bf16=False, rounds=1, steps=1)
            peaks = ours[-1][1], bare[-1][1]
            print(
                f"{variant:10} peak memory, fp32, 16 x {LENGTH}: smallgpt {peaks[0] / 1e6:.0f} MB, "
                f"whole logits {peaks[1] / 1e6:.0f} MB, ratio {peaks[0] / peaks[1]:.2f}"
            )
            continue
        ours, bare = compare(variant, batch=4, bf16=True, rounds=arguments.rounds, steps=3)
        ratios = [b[0] / o[0] for o, b in zip(ours, bare, strict=True)]
        print(
            f"{variant:10} step, bf16, 4 x {LENGTH}: smallgpt {statistics.median(o[0] for o in ours) * 1e3:.0f} ms, "
            f"bare {statistics.median(b[0] for b in bare) * 1e3:.0f} ms, faster by "
            f"{statistics.median(ratios):.2f} [{min(ratios):.2f}..{max(ratios):.2f}]"
        )


if __name__ == "__main__":
    main()
