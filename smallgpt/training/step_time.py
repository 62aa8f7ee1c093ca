"""Time of an optimizer step on this machine, on random tokens and weights: known before anything is prepared."""

from dataclasses import dataclass
from typing import Any

import torch

from smallgpt.machine.device import Precision
from smallgpt.machine.memory import free_bytes
from smallgpt.machine.rates import now, peak_flops
from smallgpt.models.cost import cost, training_memory
from smallgpt.settings import Settings
from smallgpt.training.objectives import NextToken
from smallgpt.training.optimizers import AdamW

MOST_FLOPS = {"cpu": 3e11, "cuda": 3e13}  # of what is timed at once: seconds on a slow core
REPEATED_SECONDS = 1.0  # what takes longer is timed once
TIMED = 2
MUON_FLOPS = 30  # of an update, by parameter and width: five iterations of three products


@dataclass(frozen=True)
class StepTime:
    """Seconds of an optimizer step, and whether they were measured or are the least that its products take."""

    seconds: float
    measured: bool


def step_time(settings: Settings, where: torch.device, precision: Precision) -> StepTime | None:
    """Measures a step on a part of its micro-batch; of one too large, the time of its matrix products at their best.

    None where this machine's rate is not known.
    """
    price = cost(settings.model)
    of_a_step = price.training_flops_per_token * settings.batch.tokens / settings.trainer.processes
    each = price.training_flops_per_token * settings.model.block_size
    update = 0 if isinstance(settings.optimizer, AdamW) else MUON_FLOPS * price.parameters * settings.model.n_embd
    sequences = min(settings.micro_batch_size, int((MOST_FLOPS[where.type] - update) // each))
    room = free_bytes(where)
    if sequences < 1 or (room is not None and 2 * training_memory(settings.model, sequences) > room):
        rate = peak_flops(where, precision)
        return None if rate is None else StepTime(of_a_step / rate, False)
    micro_batch, updated = timed(settings, sequences, where, precision)
    whole = settings.accumulation * micro_batch * settings.micro_batch_size / sequences + updated
    return StepTime(whole, True)


def timed(settings: Settings, sequences: int, where: torch.device, precision: Precision) -> tuple[float, float]:
    """Seconds of forward and backward passes over so many sequences, and of an update; the fastest of a few."""
    cuda = [where] if where.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        model: Any = settings.model_class(settings.model).to(where)
        model.train()
        objective, optimizer = NextToken(model), settings.optimizer.build(model)
        shape = (sequences, settings.model.block_size)
        tokens = torch.randint(settings.model.vocab_size, shape, device=where)
        best = float("inf"), float("inf")
        for number in range(1 + TIMED):
            begin = now(where)
            with torch.autocast(where.type, torch.bfloat16, enabled=precision == "bf16"):
                loss = objective.mean({"input_ids": tokens, "targets": tokens})
            loss.backward()
            middle = now(where)
            optimizer.step()
            end = now(where)
            optimizer.zero_grad()
            slow = end - begin > REPEATED_SECONDS
            if number > 0 or slow:  # in the first, memory is taken and kernels are chosen
                best = min(best[0], middle - begin), min(best[1], end - middle)
            if slow:
                break
    return best
