"""The one LightningModule: a model learns what its objective says, by default to predict the next token."""

import math
from collections import defaultdict
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from smallgpt.training.objectives import Batch, NextToken, Objective
from smallgpt.training.optimizers import AdamW, Muon
from smallgpt.training.run_length import RunLength, Stopwatch
from smallgpt.training.schedules import Schedule
from smallgpt.training.sharding import shard


class LanguageModel(L.LightningModule):
    """Trains a model with one optimizer; Lightning accumulates the micro-batches of a step.

    Nothing is logged and no number is fetched from the device inside a step: what the metrics need
    stays on the device until a callback asks for it.

    Args:
        model: has what the objective needs, transformers' accessors of the embeddings, and `save_pretrained`.
        optimizer: settings that build the optimizer.
        schedule: the learning rate over the run.
        run_length: when the run ends.
        clip: the largest gradient norm, or None for no clipping.
        compile: whether the parts of the model are compiled; the weights keep their names.
        objective: loss of a batch; None: that of the next token.
    """

    def __init__(
        self,
        model: Any,
        optimizer: AdamW | Muon,
        schedule: Schedule,
        run_length: RunLength,
        clip: float | None = 1.0,
        compile: bool = False,
        objective: Objective | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.optimizer = optimizer
        self.schedule = schedule if run_length.steps is None else schedule.for_steps(run_length.steps)
        self.run_length = run_length
        self.clip = math.inf if clip is None else clip
        self.clock = Stopwatch()
        self.beside: defaultdict[str, Stopwatch] = defaultdict(Stopwatch)
        """Time that is none of training, by what it is spent on."""
        self.learning_rate = 0.0
        self.gradient_norm = torch.zeros(())
        self.validation: dict[str, float] = {}
        self.micro_losses: list[Tensor] = []
        self.objective = objective or NextToken(model, compile)
        self.metrics = self.objective.metrics()

    @property
    def sharded(self) -> bool:
        """Whether each process has a part of the weights."""
        return isinstance(self.trainer.strategy, ModelParallelStrategy)

    def configure_model(self) -> None:
        if self.sharded and not isinstance(self.model, FSDPModule):
            mesh: Any = self.device_mesh
            shard(self.model, mesh["data_parallel"])
            self.objective = NextToken(self.model)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer.build(self.model)

    def on_train_start(self) -> None:
        self.clock.start()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.objective.mean(batch)
        self.micro_losses.append(loss.detach())
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        self.clock.mark()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        step = self.trainer.global_step
        progress = self.run_length.progress(step, self.elapsed)
        self.learning_rate = self.optimizer.lr * self.schedule.factor(step, progress)
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        # Lightning's own clipping refuses fused optimizers in mixed precision, and hides the norm
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.clip)
        self.gradient_norm = norm.full_tensor() if isinstance(norm, DTensor) else norm

    @property
    def elapsed(self) -> float:
        """Seconds of training; where seconds are the budget, all ranks go by the first one's clock."""
        seconds = self.clock.seconds
        if self.run_length.seconds is None or self.trainer.world_size == 1:
            return seconds
        return self.trainer.strategy.broadcast(seconds)

    def step_loss(self) -> float:
        """Mean loss of the micro-batches of the step just done, over all ranks."""
        loss = torch.stack(self.micro_losses).mean()
        return self.trainer.strategy.reduce(loss, reduce_op="mean").item()

    def on_validation_start(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # work still queued is training time
        self.clock.pause()
        self.beside["validation"].start()

    def on_validation_epoch_start(self) -> None:
        self.metrics.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.metrics.update(**self.objective.measured(batch))

    def on_validation_epoch_end(self) -> None:
        self.validation = {f"val/{name}": value.item() for name, value in self.metrics.compute().items()}
        self.beside["validation"].pause()

    def on_validation_end(self) -> None:
        # after the callbacks' own: writing checkpoints is not training time
        self.clock.start()

    def on_train_end(self) -> None:
        self.clock.pause()
