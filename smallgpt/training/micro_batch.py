"""Micro-batch of a training on a GPU: found by trying, once for a model and a card, where `batch.micro` is not given.

    <cache_dir>/micro_batch/<fingerprint>.json     what was found, and what for
    <run directory>/micro_batch.json               the same, which the run takes again when it goes on

It grows as long as that makes more tokens a second and leaves memory for the optimizer. On a CPU a larger one gains
nothing, so that nothing is tried there. What is tried is never compiled, which would take longer than the trial, and
leaves room for the moments of AdamW, whatever the optimizer.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor
from transformers import PreTrainedModel

from smallgpt.files import write_text
from smallgpt.machine.device import Precision, gpu_share
from smallgpt.machine.memory import free_bytes, peak_memory
from smallgpt.machine.rates import now
from smallgpt.notices import say
from smallgpt.settings import Settings

GAIN = 1.03  # in tokens a second; a larger micro-batch that makes less is not worth its memory
FILLED = 0.9  # of the memory that is free; the rest is for what validation and the libraries take
MOMENT_BYTES = 8  # of a weight, taken at the first optimizer step
PASSES = 2  # in the first, kernels are chosen and memory is taken


def with_micro_batch(
    settings: Settings, model: PreTrainedModel, device: torch.device, precision: Precision, run_dir: Path
) -> Settings:
    """The settings with the micro-batch that this card reaches most tokens a second with, where they leave it open.

    Processes of one machine find the same: the first tries, the others read what it found. Where weights are sharded or
    machines may differ, with a teacher and in a fine-tuning, it is the largest of at most 16,384 tokens, as on a CPU.
    """
    trainer = settings.trainer
    several = trainer.num_nodes > 1 or (trainer.strategy == "fsdp" and trainer.processes > 1)
    pretrains = settings.teacher is None and settings.finetune is None
    if device.type != "cuda" or settings.batch.micro is not None or several or not pretrains:
        return settings
    sequences = settings.batch.tokens // (model.config.block_size * trainer.processes)
    key = {
        "card": torch.cuda.get_device_name(),
        "share": gpu_share(),
        "torch": torch.__version__,
        "precision": precision,
        "deterministic": trainer.deterministic,
        "sequences": sequences,
        "model": model.config.to_dict(),
    }
    of_run = run_dir / "micro_batch.json"
    path = settings.cache_dir / "micro_batch" / f"{digest(key)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        found = kept(of_run, key) or kept(path, key)
        if found is None:
            if trainer.deterministic:
                torch.use_deterministic_algorithms(True)  # as the training will
            found = largest_worthwhile(sequences, settings.micro_batch_size, Trial(model, device, precision))
            say(f"micro-batch: {found} sequences, of {sequences} in a step")
        for place in (of_run, path):
            if kept(place, key) != found:
                write_text(place, json.dumps({**key, "micro_batch": found}, indent=1, default=str))
    return settings.model_copy(update={"batch": settings.batch.model_copy(update={"micro": found})})


def digest(key: dict[str, Any]) -> str:
    """Short hash of what a micro-batch was found for."""
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:16]


def kept(path: Path, key: dict[str, Any]) -> int | None:
    """Micro-batch that was found before for the same; None where there is none, or the file is damaged."""
    try:
        record = json.loads(path.read_text())
        found = record.pop("micro_batch")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    divides = isinstance(found, int) and found > 0 and key["sequences"] % found == 0
    return found if divides and record == json.loads(json.dumps(key, default=str)) else None


def largest_worthwhile(sequences: int, first: int, rate: Callable[[int], float | None]) -> int:
    """Micro-batch, a divisor of `sequences`, up from which a larger one gains nothing or does not fit.

    Args:
        first: where to begin, also a divisor.
        rate: tokens a second with a micro-batch; None where it does not fit.
    """
    sizes = [size for size in range(1, sequences + 1) if sequences % size == 0]
    place = sizes.index(first)
    best = rate(first)
    while best is None and place > 0:
        place -= 1
        best = rate(sizes[place])
    if best is None or sizes[place] < first:
        return sizes[place]  # 1 that does not fit is refused by the training itself
    for size in doubled(sizes[place + 1 :], first):
        more = rate(size)
        if more is None or more < GAIN * best:
            break
        place, best = sizes.index(size), more
    return sizes[place]


def doubled(sizes: Sequence[int], last: int) -> list[int]:
    """Those of ascending sizes that are at least twice the one before, so that few are tried."""
    found = []
    for size in sizes:
        if size >= 2 * last:
            found.append(size)
            last = size
    return found


class Trial:
    """Trial of micro-batches: a forward and a backward pass of each on random tokens, which changes nothing."""

    def __init__(self, model: PreTrainedModel, device: torch.device, precision: Precision) -> None:
        self.model: Any = model
        self.device, self.precision = device, precision
        self.model.to(device)
        moments = MOMENT_BYTES * sum(p.numel() for p in model.parameters())
        self.limit = FILLED * (free_bytes(device) or 0) - moments

    def __call__(self, size: int) -> float | None:
        """Tokens a second with a micro-batch of `size` sequences; None where it does not fit."""
        config = self.model.config
        chance = torch.Generator().manual_seed(0)
        ids = torch.randint(config.vocab_size, (size, config.block_size), generator=chance).to(self.device)
        seconds: list[float] = []
        try:
            with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
                growth = peak_memory(
                    lambda: seconds.extend(self.passed(ids) for _ in range(PASSES)), self.device
                ).growth
            fits = growth is None or growth <= self.limit
        except torch.cuda.OutOfMemoryError:
            fits = False
        self.model.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)  # what did not fit is no part of the training
        return ids.numel() / seconds[-1] if fits else None

    def passed(self, ids: Tensor) -> float:
        """Seconds of a forward and a backward pass."""
        begin = now(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            nats = self.model.next_token_loss(ids, ids)
        nats.backward()
        seconds = now(self.device) - begin
        self.model.zero_grad()
        return seconds
