"""How long a run will take, said before its first step."""

import time
from typing import Any

import lightning as L
import torch

from smallgpt.notices import say
from smallgpt.training.module import LanguageModel

WARM_UP, TIMED = 1, 2  # rehearsals; in the first, memory is taken and kernels are chosen and compiled
FORWARD_SHARE = 1 / 3  # of a forward and backward pass, by its matrix products


class Forecast(L.Callback):
    """Rehearses the first step a few times, changes nothing, and says how long the run will take.

    It comes before what restores random numbers. All processes take part, so that DDP also settles the order of its
    sums, which it changes after the first backward pass: a run that goes on then sums as the one that was cut off.

    Args:
        every: optimizer steps between validations; None: ten a run.
    """

    def __init__(self, every: int | None = None) -> None:
        self.every = every
        self._done = False

    def on_train_batch_start(self, trainer: L.Trainer, module: LanguageModel, batch: Any, *_: Any) -> None:
        if self._done:
            return
        self._done = True
        module.clock.pause()
        micro_batch, update = rehearse(trainer, module, batch)
        if trainer.is_global_zero:
            say(self._line(trainer, module, micro_batch, update))
        module.clock.start()

    def _line(self, trainer: L.Trainer, module: LanguageModel, micro_batch: float, update: float) -> str:
        """What is left to do, and how long that takes at `micro_batch` seconds a pass and `update` seconds a step."""
        length, step, elapsed = module.run_length, trainer.global_step, module.clock.seconds
        a_step = trainer.accumulate_grad_batches * micro_batch + update
        left = (length.steps or 0) - step if length.seconds is None else round((length.seconds - elapsed) / a_step)
        validations = length.validations(step + left, length.seconds or 0.0, self.every)
        validations = max(1, validations - length.validations(step, elapsed, self.every))
        batches = len(trainer.datamodule.val_dataloader())
        seconds = left * a_step + validations * batches * FORWARD_SHARE * micro_batch
        return f"expected time: {about(seconds)}, for {left:,} steps and {validations} validations"


def rehearse(trainer: L.Trainer, module: LanguageModel, batch: Any) -> tuple[float, float]:
    """Seconds of a micro-batch, forward and backward, and of an update of the weights, which stay as they are."""
    optimizer = module.optimizer.build(module.model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    times = []
    with torch.random.fork_rng(devices=[module.device] if module.device.type == "cuda" else []):
        for _ in range(WARM_UP + TIMED):
            begin = now(module.device)
            trainer.strategy.training_step(batch, 0).backward()
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


def about(seconds: float) -> str:
    """A time in one or two digits, as sure as an estimate is: about 40 s, about 4 min, about 2.5 h."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 95:
        return f"about {round(seconds, -1)} s"
    if seconds < 95 * 60:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.{1 if seconds < 36_000 else 0}f} h"
