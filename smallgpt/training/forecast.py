"""How long a run will take, said before its first step."""

import time
from typing import Any

import lightning as L
import torch

from smallgpt.notices import say
from smallgpt.training.module import LanguageModel
from smallgpt.training.run_length import RunLength

WARM_UP, TIMED = 1, 2  # rehearsals; in the first, memory is taken and kernels are chosen and compiled
FORWARD_SHARE = 1 / 3  # of a forward and backward pass, by its matrix products


class Forecast(L.Callback):
    """Rehearses the first step a few times, changes nothing, and says how long the run will take.

    It comes before what restores random numbers. All processes take part, so that DDP also settles the order of its
    sums, which it changes after the first backward pass: a run that goes on then sums as the one that was cut off.

    Args:
        every: optimizer steps between validations; None: ten a run.
        scored_tokens: tokens that the first process scores alone after the training.
    """

    def __init__(self, every: int | None = None, scored_tokens: int = 0) -> None:
        self.every = every
        self.scored_tokens = scored_tokens
        self._done = False

    def on_train_batch_start(self, trainer: L.Trainer, module: LanguageModel, batch: Any, *_: Any) -> None:
        if self._done:
            return
        self._done = True
        module.clock.pause()
        micro_batch, update = rehearse(trainer, module, batch)
        if trainer.is_global_zero:
            step_seconds = trainer.accumulate_grad_batches * micro_batch + update
            length, step, elapsed = module.run_length, trainer.global_step, module.clock.seconds
            steps, validations = what_is_left(length, step, elapsed, step_seconds, self.every)
            batches = len(trainer.datamodule.val_dataloader())  # ty: ignore[missing-attribute]  # set by `fit`
            forward_passes = validations * batches + self.scored_tokens / batch["input_ids"].numel()
            seconds = steps * step_seconds + forward_passes * FORWARD_SHARE * micro_batch
            say(f"expected time: {about(seconds)}, for {steps:,} steps and {validations} validations")
        module.clock.start()


def rehearse(trainer: L.Trainer, module: LanguageModel, batch: Any) -> tuple[float, float]:
    """Seconds of a micro-batch, forward and backward, and of an update of the weights, which stay as they are."""
    optimizer = module.optimizer.build(module.model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    times = []
    with torch.random.fork_rng(devices=[module.device] if module.device.type == "cuda" else []):
        for _ in range(WARM_UP + TIMED):
            begin = now(module.device)
            loss: Any = trainer.strategy.training_step(batch, 0)
            loss.backward()
            middle = now(module.device)
            optimizer.step()
            times.append((middle - begin, now(module.device) - middle))
            module.zero_grad()
    module.micro_losses.clear()
    micro_batch, update = (sum(kind) / TIMED for kind in zip(*times[WARM_UP:], strict=True))
    return micro_batch, update


def now(device: torch.device) -> float:
    """The time at which the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def what_is_left(
    length: RunLength, step: int, elapsed: float, step_seconds: float, every: int | None
) -> tuple[int, int]:
    """Optimizer steps and validations from here to the end of the run, the last validation included."""
    if length.steps is not None:
        steps, end = length.steps - step, elapsed
    else:
        assert length.seconds is not None
        steps, end = max(1, round((length.seconds - elapsed) / step_seconds)), length.seconds
    validations = length.validations(step + steps, end, every) - length.validations(step, elapsed, every)
    ends_between = every is not None and (step + steps) % every > 0
    # there is one behind a step at most, also where a run has fewer than ten
    return steps, max(1, min(steps, validations + ends_between))


def about(seconds: float) -> str:
    """A time as sure as an estimate is: about 40 s, about 4 min, about 2.5 h."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 95:
        return f"about {round(seconds, -1):.0f} s"
    if seconds < 95 * 60:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.{1 if seconds < 36_000 else 0}f} h"
