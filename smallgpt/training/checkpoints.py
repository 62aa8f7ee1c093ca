"""What a run keeps: model folders that transformers can load, and the state of the training itself.

    checkpoints/best/      the weights with the lowest validation loss
    checkpoints/last/      the weights of the latest validation
    checkpoints/last.ckpt  everything that training would go on from

Whatever happens while one of them is written, its predecessor stays whole.
"""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from smallgpt.training.metrics import MetricsFile
from smallgpt.training.module import LanguageModel


class Checkpoints(L.Callback):
    """Saves at each validation, and so at the end of a run.

    Args:
        directory: the run's `checkpoints/`.
        tokenizer_dir: a folder with the tokenizer's files, copied beside the weights.
        metrics: the record, whose length belongs to the state.
    """

    def __init__(self, directory: Path, tokenizer_dir: Path, metrics: MetricsFile) -> None:
        self.directory = directory
        self.tokenizer_dir = tokenizer_dir
        self.metrics = metrics
        self.best_loss = float("inf")

    def state_dict(self) -> dict[str, float]:
        return {"best_loss": self.best_loss}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.best_loss = state["best_loss"]

    def on_save_checkpoint(self, trainer: L.Trainer, module: LanguageModel, checkpoint: dict[str, Any]) -> None:
        # Lightning adds its loops, and the data module its place in the data
        checkpoint["seconds"] = module.clock.seconds
        checkpoint["metrics_rows"] = self.metrics.rows
        checkpoint["random_state"] = random_state()

    def on_validation_end(self, trainer: L.Trainer, module: LanguageModel) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        loss = module.validation["val/loss"]
        is_best = loss < self.best_loss
        self.best_loss = min(loss, self.best_loss)

        def write_model(folder: Path) -> None:
            module.model.save_pretrained(folder)
            shutil.copytree(self.tokenizer_dir, folder, dirs_exist_ok=True)

        if trainer.is_global_zero:
            if is_best:
                replace_folder(self.directory / "best", write_model)
            replace_folder(self.directory / "last", write_model)
        # every rank takes part, the first one writes
        unfinished = self.directory / ".last.ckpt"
        trainer.save_checkpoint(unfinished, weights_only=False)
        if trainer.is_global_zero:
            flush(unfinished)
            os.replace(unfinished, self.directory / "last.ckpt")


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Has `write` fill a new folder, and puts its files in the place of `folder`'s one by one.

    Of a model folder only the weights differ between two saves of a run, so replacing that one file
    makes the whole folder new, and a reader finds a complete model at any moment.
    """
    unfinished = folder.with_name(f".{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    write(unfinished)
    readable = unfinished.stat().st_mode & 0o666
    for path in unfinished.iterdir():
        path.chmod(readable)  # safetensors writes for the owner alone
        flush(path)
    if folder.exists():
        for path in unfinished.iterdir():
            os.replace(path, folder / path.name)
        unfinished.rmdir()
    else:
        os.rename(unfinished, folder)


def flush(path: Path) -> None:
    """Waits until a file's content is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def random_state() -> dict[str, Any]:
    """Every random generator's state, in types that `torch.load(weights_only=True)` accepts."""
    version, numbers, gauss = random.getstate()
    name, keys, place, has_gauss, cached = np.random.get_state()
    return {
        "python": (version, list(numbers), gauss),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), place, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
