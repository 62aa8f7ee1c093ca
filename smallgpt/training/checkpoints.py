"""Checkpoints of a run: model folders that transformers can load, and the state of the training itself.

    checkpoints/best/      the weights with the lowest validation loss
    checkpoints/last/      the weights of the latest validation
    checkpoints/last.ckpt  everything that training would go on from

Whatever happens while one of them is written, its predecessor stays whole.
"""

import os
import random
import shutil
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from smallgpt.errors import UserError
from smallgpt.files import flush, whole_folder
from smallgpt.model_folder import without_code, write_context_length, write_model
from smallgpt.notices import say
from smallgpt.results import write_weights_record
from smallgpt.run_directory import removed
from smallgpt.training.loggers import Lasting
from smallgpt.training.metrics import MetricsFile
from smallgpt.training.module import LanguageModel
from smallgpt.training.processes import seed_of_rank
from smallgpt.training.run_length import Stopwatch


class Checkpoints(L.Callback):
    """Callback that saves at each validation, and so at the end of a run.

    Args:
        directory: the run's `checkpoints/`.
        tokenizer_dir: a folder with the tokenizer's files, copied beside the weights.
        metrics: the record, whose rows belong to the state.
        identity: what a run must have in common with the state to go on from it, as `run_identity` returns it.
    """

    def __init__(
        self, directory: Path, tokenizer_dir: Path, metrics: MetricsFile, identity: dict[str, Any] | None = None
    ) -> None:
        self.directory = directory
        self.tokenizer_dir = tokenizer_dir
        self.metrics = metrics
        self.identity = identity
        self.best_loss = float("inf")
        self._random_states: list[dict[str, Any]] = []
        self._pending: dict[str, Any] | None = None
        self._seeded = False
        self._said_without_code = False

    def state_dict(self) -> dict[str, float]:
        return {"best_loss": self.best_loss}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.best_loss = state["best_loss"]

    def on_save_checkpoint(self, trainer: L.Trainer, module: LanguageModel, checkpoint: dict[str, Any]) -> None:
        # Lightning adds weights, optimizer and step, and the data module its place in the data
        checkpoint["seconds"] = module.clock.seconds
        checkpoint["seconds_beside"] = {name: watch.seconds for name, watch in module.beside.items()}
        checkpoint["metrics"] = self.metrics.lines
        checkpoint["random_states"] = self._random_states
        checkpoint["identity"] = self.identity

    def on_load_checkpoint(self, trainer: L.Trainer, module: LanguageModel, checkpoint: dict[str, Any]) -> None:
        # Lightning's loops would count batches of the other run, whose accumulation may differ: only the step goes on
        checkpoint.pop("loops")
        steps = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
        steps.ready = steps.completed = checkpoint["global_step"]
        module.clock = Stopwatch(checkpoint["seconds"])
        for name, seconds in checkpoint.get("seconds_beside", {}).items():  # a state of before has none
            module.beside[name] = Stopwatch(seconds)
        if trainer.is_global_zero:
            self.metrics.keep(checkpoint["metrics"])
            for logger in trainer.loggers:
                if isinstance(logger, Lasting):
                    logger.log_kept(self.metrics.kept())
        states = checkpoint["random_states"]
        self._pending = states[trainer.global_rank] if len(states) == trainer.world_size else None

    def on_train_batch_start(self, trainer: L.Trainer, module: LanguageModel, batch: Any, *_: Any) -> None:
        # not earlier: setting up draws random numbers of its own
        if self._seeded:
            return
        self._seeded = True
        if self._pending is not None:
            restore_random_state(self._pending)
            self._pending = None
        elif trainer.world_size > 1 or trainer.global_step > 0:
            seed_of_rank(trainer.global_rank, trainer.global_step)

    def on_validation_end(self, trainer: L.Trainer, module: LanguageModel) -> None:
        module.beside["checkpoints"].start()
        loss = module.validation["val/loss"]
        is_best = loss < self.best_loss
        self.best_loss = min(loss, self.best_loss)
        weights = trainer.strategy.lightning_module_state_dict() if module.sharded else None
        if trainer.is_global_zero:
            self._make_directory()
            for name in ("best", "last") if is_best else ("last",):
                with whole_folder(self.directory / name) as folder:
                    self._write_model(module, weights, folder)
                    write_weights_record(folder, trainer.global_step, loss)
        self.save_state(trainer)
        module.beside["checkpoints"].pause()

    def save_state(self, trainer: L.Trainer) -> None:
        """Writes last.ckpt; only between two optimizer steps. Every rank takes part, the first one writes."""
        self._random_states = gather(random_state())
        if trainer.is_global_zero:
            self._make_directory()
        unfinished = self.directory / ".last.ckpt"
        try:
            trainer.save_checkpoint(unfinished, weights_only=False)
            if trainer.is_global_zero:
                flush(unfinished)
                os.replace(unfinished, self.directory / "last.ckpt")
        except Exception:
            unfinished.unlink(missing_ok=True)  # on a full disk its room is needed to say so
            raise

    def _make_directory(self) -> None:
        try:
            self.directory.mkdir(exist_ok=True)
        except FileNotFoundError:
            raise UserError(removed(self.directory.parent)) from None

    def _write_model(self, module: LanguageModel, weights: dict[str, torch.Tensor] | None, folder: Path) -> None:
        """`weights`: of the module, where the model has a part of them."""
        if weights is not None:
            weights = {name.removeprefix("model."): value for name, value in weights.items()}
        model: Any = module.model
        try:
            write_model(model, folder, weights)
        except UserError as error:  # the weights are there, and smallgpt reads them without their code
            without_code(folder)
            if not self._said_without_code:
                say(f"the checkpoints have no code of their own: {error}")
            self._said_without_code = True
        shutil.copytree(self.tokenizer_dir, folder, dirs_exist_ok=True)
        write_context_length(folder, model.config.max_position_embeddings)


def random_state() -> dict[str, Any]:
    """States of all random generators, in types that `torch.load(weights_only=True)` accepts."""
    version, numbers, gauss = random.getstate()
    name, keys, place, has_gauss, cached = np.random.get_state()
    return {
        "python": (version, list(numbers), gauss),
        "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), place, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Sets all random generators to what `random_state` returned."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, place, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), place, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    # a run may go on where there are fewer GPUs than it had, or none
    for number, numbers_of_gpu in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(numbers_of_gpu, number)


def gather(mine: dict[str, Any]) -> list[dict[str, Any]]:
    """Values of all ranks, in the order of the ranks."""
    if not torch.distributed.is_initialized():
        return [mine]
    states: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(states, mine)
    return states
