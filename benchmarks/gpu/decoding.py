"""Step `decoding`: a token of ours, eager, as a CUDA graph and compiled, beside transformers' GPT-2, in turn.

Greedy, in bf16 with random weights, which change no time. The limit is the bytes of weights and cache that a step
reads over the rate of a copy on this device.
"""

import statistics
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from benchmarks.gpu.rows import check, row
from benchmarks.inference import of_the_library, shape
from smallgpt.inference.steps import Steps
from smallgpt.machine.rates import copy_bandwidth
from smallgpt.models.gpt import GPT, GPTConfig
from smallgpt.models.lineargpt import LinearGPT, LinearGPTConfig
from smallgpt.models.parallelgpt import ParallelGPT, ParallelGPTConfig
from smallgpt.speed.benchmark import in_turn
from smallgpt.speed.measured_models import MeasuredModel, TokenClock
from smallgpt.speed.roofline import Work, demand

ROUNDS, NEW = 3, 64
PROMPTS, BATCHES = (64, 1024), (1, 8, 64)
LIBRARY, EAGER, GRAPH = "transformers' GPT-2", "GPT, eager", "GPT, CUDA graph"
COMPILED, ONE_PATH, LINEAR = "GPT, compiled CUDA graph", "ParallelGPT, one path, CUDA graph", "LinearGPT, CUDA graph"


def models(values: dict[str, Any], device: torch.device) -> dict[str, MeasuredModel]:
    """What is measured, by name; the library's model has the weights of our GPT."""

    def gpt() -> GPT:
        torch.manual_seed(0)
        return GPT(GPTConfig(**values)).eval()

    parallel = ParallelGPT(ParallelGPTConfig(**values, active_paths=[0]))
    linear = LinearGPT(LinearGPTConfig(**values, allow_narrow=True))
    found = {
        LIBRARY: MeasuredModel(LIBRARY, of_the_library(gpt()).to(device, torch.bfloat16)),
        EAGER: MeasuredModel(EAGER, gpt().to(device), "bf16"),
        GRAPH: MeasuredModel(GRAPH, gpt().to(device), "bf16"),
        ONE_PATH: MeasuredModel(ONE_PATH, parallel.to(device), "bf16"),
        LINEAR: MeasuredModel(LINEAR, linear.to(device), "bf16"),
    }
    found[EAGER].steps = Steps(found[EAGER].model)
    return found


def equal_ids(values: dict[str, Any], device: torch.device, tokens: int) -> list[dict[str, Any]]:
    """Greedy ids in fp32: the library's against ours, which must be equal, since the weights are."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(**values)).eval()
    library = MeasuredModel(LIBRARY, of_the_library(model).to(device))
    ours = MeasuredModel(GRAPH, model.to(device))
    work = Work("decode", 16, tokens, batch=2)
    rows = []
    for again in ("", ", again on the recorded step"):
        made = [each.generate(each.prompt(work), tokens, TokenClock(device)) for each in (library, ours)]
        same = (made[0] == made[1]).float().mean().item()
        rows.append(check(f"fp32: ids equal those of {LIBRARY}{again}", same == 1.0, f"{same:.0%} of the ids"))
    return rows


def measure(folder: Path, tiny: bool) -> list[dict[str, Any]]:
    """Rows of every prompt and batch; what is compiled decodes one sequence alone, to save its compilations."""
    disable_progress_bar()
    set_verbosity_error()
    device = torch.device("cpu" if tiny else "cuda")
    rounds, new, prompts, batches = (1, 4, (8,), (1, 2)) if tiny else (ROUNDS, NEW, PROMPTS, BATCHES)
    values = shape("debug" if tiny else "paper")
    values |= {"vocab_size": 512} if tiny else {"block_size": 2048}  # a prompt of 1,024 needs room behind it
    bandwidth = copy_bandwidth(device)
    rows = [row("copies", bandwidth / 1e9, "GB/s"), *equal_ids(values, device, new)]
    subjects = models(values, device)
    works = [Work("decode", prompt, new, batch) for prompt in prompts for batch in batches]
    rows += of_works(list(subjects.values()), works, rounds, bandwidth)
    compiled = MeasuredModel(COMPILED, GPT(GPTConfig(**values)).eval().to(device), "none" if tiny else "bf16", True)
    rows += of_works([subjects[LIBRARY], subjects[GRAPH], compiled], works[:1], rounds, bandwidth, again=True)
    return rows


def of_works(
    subjects: list[MeasuredModel], works: list[Work], rounds: int, bandwidth: float, again: bool = False
) -> list[dict[str, Any]]:
    """Rows of subjects that are measured in turn; the first is the library's. With `again` the last one's alone."""
    for work in works:
        for subject in subjects:
            subject.token_times(work)
    times = in_turn(subjects, works, rounds)
    library, limit = times[0], {each.name: each.read_bytes for each in subjects}
    graphs = {each.name: own for each, own in zip(subjects, times, strict=True)}
    rows = []
    for subject, own in list(zip(subjects, times, strict=True))[-1 if again else 0 :]:
        for work, seconds in own.items():
            where = f"{subject.name}: batch {work.batch}, prompt {work.prompt}"
            middle, alone = statistics.median(seconds), work == works[0]
            rows.append(row(f"{where}: a token of each", 1e3 * middle, "ms"))
            if subject is not subjects[0]:
                ratio = statistics.median(a / b for a, b in zip(library[work], seconds, strict=True))
                goal = 3.0 if alone and subject.name in (GRAPH, COMPILED) else None
                rows.append(row(f"{where}: speed over {LIBRARY}", ratio, "x", goal))
            if (needs := demand(subject, work, limit[subject.name]).bytes) is not None:
                goal = 0.6 if alone and subject.name == COMPILED else None
                rows.append(row(f"{where}: share of the bandwidth's limit", needs / bandwidth / middle, least=goal))
            if subject.name == LINEAR and alone:
                gpt = next(each for each in subjects if each.name == GRAPH)
                promised = (demand(gpt, work, limit[GRAPH]).bytes or 0) / (needs or 1)
                reached = statistics.median(a / b for a, b in zip(graphs[GRAPH][work], seconds, strict=True))
                rows += [
                    row(f"{where}: speed over GPT that its bytes promise", promised, "x"),
                    row(f"{where}: speed over GPT", reached, "x"),
                    row(f"{where}: share of what is promised", reached / promised, least=0.7),
                ]
    return rows
