"""Early stopping: a training ends where its validation loss has not come down for a while."""

from typing import Any

import lightning as L

from smallgpt.notices import say
from smallgpt.training.module import LanguageModel


class EarlyStopping(L.Callback):
    """Callback that ends a training after `patience` validations without a lower loss; `checkpoints/best` is kept.

    Lightning's own reads what a module logs, and this one logs nothing.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best, self.waited = float("inf"), 0

    @property
    def stopped(self) -> bool:
        """Whether the training has ended before its budget."""
        return self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.waited = state["best"], state["waited"]

    def on_train_start(self, trainer: L.Trainer, module: LanguageModel) -> None:
        if self.stopped:  # a run that goes on after its end trains no more
            trainer.should_stop = True

    def on_validation_end(self, trainer: L.Trainer, module: LanguageModel) -> None:
        loss = module.validation["val/loss"]  # of all ranks, so all decide the same
        self.waited = 0 if loss < self.best else self.waited + 1
        self.best = min(loss, self.best)
        if self.stopped and not trainer.should_stop:
            trainer.should_stop = True
            if trainer.is_global_zero:
                say(f"no lower validation loss in {self.patience} validations: the training ends at the best weights")
