"""Settings of a training: batches, validation, budget, hardware, and what a model's size is matched to."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from smallgpt.errors import shown
from smallgpt.settings.group import Group

DEFAULT_BUDGET_TOKENS = 700_000  # about four minutes at the default size on two cores without bf16


class Batch(Group):
    """Settings of the effective batch and of the micro-batch."""

    tokens: int = Field(gt=0)
    """Effective batch: tokens of one optimizer step, over all devices; each size brings its own."""
    micro: int | None = Field(None, gt=0)
    """Micro-batch: sequences of one forward pass on one device.

    With null it is the largest of at most 16,384 tokens; on a GPU the fastest of those that fit, found by trying."""
    examples: int | None = Field(None, gt=0)
    """Examples of one optimizer step of task=finetune, over all devices; null: 32."""


class Validation(Group):
    """Settings of how often and on how much held-out text a run validates."""

    every: int | None = Field(None, gt=0)
    """Number of optimizer steps between validations; null: ten validations a run."""
    tokens: int | None = Field(32_768, gt=0)
    """Largest number of tokens, about, of a validation during the run, in whole held-out documents; null: all of them.

    These validations draw the curve and choose the best checkpoint."""
    final_tokens: int | None = Field(524_288, gt=0)
    """Largest number of tokens, about, of each split that is scored at the end; null: all of them."""


class Budget(Group):
    """Settings of how long to train: one of the five, or 700,000 tokens if none is given."""

    tokens: int | None = Field(None, gt=0)
    """Number of training tokens."""
    flops: float | None = Field(None, gt=0)
    """Training FLOPs by the model's own closed form, so that a cheaper model sees more tokens."""
    epochs: float | None = Field(None, gt=0)
    """Number of passes over the training text."""
    seconds: float | None = Field(None, gt=0)
    """Seconds of training; validation and saving do not count."""
    examples: int | None = Field(None, gt=0)
    """Number of training examples, each as often as it is seen, of task=finetune."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        given = {key: value for key, value in self if value is not None}
        if len(given) > 1:
            first, *others = given
            raise ValueError(f"{first}={shown(given[first])}: budget.{others[0]} is given too; set one of them to null")
        if not given:
            object.__setattr__(self, "tokens", DEFAULT_BUDGET_TOKENS)
        return self


class Distill(Group):
    """Settings of a teacher, a trained model whose logits are learned from too."""

    teacher: str | None = Field(None, alias="from")
    """Run directory, model folder or name on the hub of the teacher; null: none."""
    weight: float = Field(0.5, gt=0, le=1)
    """Weight of the teacher's part of the loss; that of the text has the rest."""
    temperature: float = Field(2.0, gt=0)
    """Number that the logits of both are divided by: over 1, unlikely tokens count for more."""


class Trainer(Group):
    """Settings of the hardware and of how a step runs on it."""

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Kind of device; auto: GPUs where there are any."""
    devices: int = Field(1, gt=0)
    """Number of processes on each machine: one a GPU, or several that share a CPU."""
    num_nodes: int = Field(1, gt=0)
    """Number of machines; several need torchrun or Slurm."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """Strategy of several processes: ddp averages their gradients, fsdp also splits the weights; auto: ddp."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of the products; auto: bf16 where the processor has it natively, else fp32."""
    threads: int | None = Field(None, gt=0)
    """Number of CPU threads; null: all cores, shared out among the processes."""
    clip: float | None = Field(1.0, gt=0)
    """Largest norm of the gradient; null: no limit."""
    workers: int = Field(0, ge=0)
    """Number of processes that load batches; 0: the training process itself."""
    deterministic: bool = False
    """Whether a GPU uses kernels that give the same bits every time, which are slower; those of a CPU always do."""
    timeout: float = Field(600, gt=0, le=86_400)
    """Seconds that a process waits for the others, in NCCL or Gloo, until it gives up and the run ends."""
    overfit: bool = False
    """Whether to train on the first batch again and again."""
    profile: bool = False
    """Whether to record where the time of a few steps goes."""

    @property
    def processes(self) -> int:
        """Number of processes of the whole run, on all machines."""
        return self.devices * self.num_nodes


class Latency(Group):
    """Settings of the decoding latency that a run measures before its training, beside a baseline."""

    to: str
    """Name of the baseline's YAML."""
    reference: dict[str, Any]
    """Values of that variant at the size and block of the sweep."""


class Match(Group):
    """Settings of what a model's width is solved for, so that it costs what the baseline does."""

    quantity: Literal["params", "flops", "latency"]
    """Quantity to match: parameters, training FLOPs per token, or measured seconds to decode a token."""
    to: str
    """Name of the baseline's YAML."""
    reference: dict[str, Any]
    """Values of that variant at the size and block of the sweep."""
    baseline: dict[str, Any] | None = None
    """Values that the baseline has beside, such as {n_layer: 6}."""
    exclude_embeddings: bool = False
    """Whether embeddings, positions and an untied output matrix are left out of the count."""
    depth: bool = False
    """Whether other depths are tried where no width is near enough."""
    tolerance: float = Field(0.03, gt=0)
    """Largest relative difference to the baseline."""

    @model_validator(mode="after")
    def _whole_models_take_time(self) -> Self:
        if self.quantity == "latency" and self.exclude_embeddings:
            raise ValueError("exclude_embeddings=true: a token's time is that of the whole model; use false")
        return self
