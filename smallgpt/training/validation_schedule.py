"""Schedule of validations, which also says when a run ends."""

import math
from typing import Any

import lightning as L

from smallgpt.training.module import LanguageModel


class ValidationSchedule(L.Callback):
    """Callback that validates every so many steps (ten times a run by default) and at the end, between two steps.

    Lightning's own limits know neither seconds of training nor validation at the end of a run whose
    length its interval does not divide.
    """

    def __init__(self, every: int | None = None) -> None:
        self.every = every
        self._validations = 0
        self._step = 0

    def on_train_start(self, trainer: L.Trainer, module: LanguageModel) -> None:
        trainer.val_check_batch = math.inf
        self._step = trainer.global_step
        elapsed = module.elapsed
        # at once where a run goes on that had trained to its end; Lightning asks before the first batch
        trainer.should_stop = module.run_length.reached(self._step, elapsed)
        self._validations = module.run_length.validations(self._step, elapsed, self.every)

    def on_train_batch_end(self, trainer: L.Trainer, module: LanguageModel, *_: Any) -> None:
        step = trainer.global_step
        if step == self._step:
            return
        self._step = step
        elapsed = module.elapsed
        if module.run_length.reached(step, elapsed):
            trainer.should_stop = True  # Lightning validates once more on the way out
            return
        due = module.run_length.validations(step, elapsed, self.every)
        # Lightning validates when the batches so far are a multiple of this
        batches = trainer.fit_loop.total_batch_idx + 1
        trainer.val_check_batch = batches if due > self._validations else math.inf
        self._validations = due
