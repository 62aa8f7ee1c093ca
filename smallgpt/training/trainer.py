"""Lightning's Trainer as smallgpt uses it."""

import logging
import warnings
from pathlib import Path
from typing import Literal

import lightning as L
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.strategies import Strategy
from transformers.utils.logging import disable_progress_bar

from smallgpt.machine.device import Precision
from smallgpt.packages import private

LIGHTNING_PRECISION: dict[Precision, Literal["32-true", "bf16-mixed"]] = {"fp32": "32-true", "bf16": "bf16-mixed"}


def build_trainer(
    run_dir: Path,
    callbacks: list[L.Callback],
    loggers: list[Logger],
    accumulation: int = 1,
    accelerator: str = "cpu",
    devices: int = 1,
    nodes: int = 1,
    strategy: Strategy | str = "auto",
    precision: Precision = "fp32",
    deterministic: bool = False,
) -> L.Trainer:
    """A Trainer that runs until a callback stops it, and does nothing that was not asked for.

    Validation, checkpoints and progress are callbacks; the batches of all ranks are laid out by the
    data module.
    """
    quieten()
    trainer = L.Trainer(
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy=strategy,
        precision=LIGHTNING_PRECISION[precision],
        accumulate_grad_batches=accumulation,
        deterministic=deterministic or None,  # false would switch off what somebody else has asked for
        max_epochs=-1,
        callbacks=callbacks,
        logger=loggers,
        default_root_dir=run_dir,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    # `Interruption` answers signals; Lightning's answer is a collective in the middle of whatever goes on
    with private("lightning"):
        assert callable(trainer._signal_connector.register_signal_handlers)  # assigning alone finds no new name
        trainer._signal_connector.register_signal_handlers = lambda: None
    return trainer


def quieten() -> None:
    """Leaves out what the libraries say about themselves; what they refuse they still raise."""
    for name in ("fabric.utilities.rank_zero", "pytorch.utilities.rank_zero", "fabric.utilities.distributed"):
        logging.getLogger(f"lightning.{name}").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning.*")
    disable_progress_bar()  # of transformers, one for each file saved
