"""Settings of a training: batches, validation, budget, hardware, and what a model's size is matched to."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from smallgpt.errors import shown
from smallgpt.settings.group import Group

DEFAULT_BUDGET_TOKENS = 1_000_000


class Batch(Group):
    tokens: int = Field(8192, gt=0)
    """Tokens of one optimizer step, over all devices."""
    micro: int | None = Field(None, gt=0)
    """Sequences of one forward pass; null: as many as fit in 16,384 tokens."""


class Validation(Group):
    every: int | None = Field(None, gt=0)
    """Optimizer steps between validations; null: ten times a run."""
    tokens: int | None = Field(65_536, gt=0)
    """At most about this many held-out tokens, in whole documents; null: all of them."""


class Budget(Group):
    """How long to train: one of the four, or a million tokens if none is given."""

    tokens: int | None = Field(None, gt=0)
    flops: float | None = Field(None, gt=0)
    """Of the model's own closed form, so that a cheaper model sees more tokens."""
    epochs: float | None = Field(None, gt=0)
    seconds: float | None = Field(None, gt=0)
    """Of training; validation and saving do not count."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        given = {key: value for key, value in self if value is not None}
        if len(given) > 1:
            first, *others = given
            raise ValueError(f"{first}={shown(given[first])}: budget.{others[0]} is given too; set one of them to null")
        if not given:
            object.__setattr__(self, "tokens", DEFAULT_BUDGET_TOKENS)
        return self


class Trainer(Group):
    """The hardware and how a step runs on it."""

    accelerator: Literal["auto", "cpu", "gpu"] = "cpu"
    """auto: GPUs where there are any."""
    devices: int = Field(1, gt=0)
    """Processes on each machine: one a GPU, or several that share a CPU."""
    num_nodes: int = Field(1, gt=0)
    """Machines; several need torchrun or Slurm."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """What several processes share: ddp the gradients, fsdp also the weights; auto: ddp."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the processor has it natively, else fp32."""
    threads: int | None = Field(None, gt=0)
    """CPU threads; null: PyTorch's choice."""
    clip: float | None = Field(1.0, gt=0)
    """Largest norm of the gradient; null: no limit."""
    workers: int = Field(0, ge=0)
    """Processes that load batches; 0: the training process itself."""
    overfit: bool = False
    """Train on the first batch again and again."""
    profile: bool = False
    """Record where the time of a few steps goes."""

    @property
    def processes(self) -> int:
        """Of the whole run, on all machines."""
        return self.devices * self.num_nodes


class Match(Group):
    """What a model's width is solved for, so that it costs what the baseline does."""

    quantity: Literal["params", "flops", "latency"]
    """Parameters, training FLOPs a token, or seconds to decode a token, measured on this machine."""
    to: str
    """Name of the baseline's YAML; its size and block are those of the model."""
    baseline: dict[str, Any]
    """The values of that file."""
    exclude_embeddings: bool = False
    """Count neither embeddings, positions nor an untied output matrix."""
    depth: bool = False
    """Look at other depths where no width is near enough."""
    tolerance: float = Field(0.02, gt=0)
    """Largest relative difference."""

    @model_validator(mode="after")
    def _whole_models_take_time(self) -> Self:
        if self.quantity == "latency" and self.exclude_embeddings:
            raise ValueError("exclude_embeddings=true: a token's time is that of the whole model; use false")
        return self
