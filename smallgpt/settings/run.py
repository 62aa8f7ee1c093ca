"""Settings of a whole run, checked together."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from smallgpt.errors import nearest_divisors, nearest_multiples
from smallgpt.settings.finetuning import FineTuning
from smallgpt.settings.group import Group, one_or_several
from smallgpt.settings.inference import Benchmark, Evaluation, Generation
from smallgpt.settings.preparation import Preparation
from smallgpt.settings.proof_of_concept import ProofOfConcept
from smallgpt.settings.training import Batch, Budget, Distill, Latency, Match, Trainer, Validation

BATCH_EXAMPLES = 32
FROM_CHECKPOINT = ("train", "inspect", "finetune", "poc")  # tasks whose model may begin with a checkpoint's weights
MICRO_BATCH_TOKENS = 16_384  # one forward pass, if batch.micro does not say; larger gains nothing on a CPU


class Common(Group):
    """Settings that belong to no group."""

    prompt: tuple[str, ...] = ()
    """Text that task=generate continues, or a list of texts; none: the start of a document."""
    checkpoint: tuple[str, ...] = ()
    """Run directories, model folders or names on the hub: one, or a list; a training begins from the weights of one."""
    first_weights: Literal["checkpoint", "random"] = "checkpoint"
    """Weights that a training with `checkpoint` begins with: its own, or random ones in a model of its size."""
    budget_with_origin: bool = False
    """Whether the tokens that the checkpoint was trained on are added to the budget, for the same training in all."""
    resume: Literal["auto", "last", "extend"] | None = None
    """Run that is continued: that of the run directory (auto), the last one (last), or one to a larger budget (extend).

    With auto the directory may hold no run yet; one that is completed goes on with extend alone."""
    seed: int = Field(1337, ge=0, lt=2**32)
    """Seed of the first weights, of the order of the data, and of sampling."""
    cache_dir: Path
    """Folder where prepared data and measured latencies are kept."""
    log_every: int = Field(10, gt=0)
    """Number of optimizer steps between rows of metrics.csv."""
    compile: bool | None = None
    """Whether PyTorch compiles the training, and the decoding of task=generate and task=benchmark.

    With null a training on a GPU is compiled, where this machine has what that needs, and nothing else."""
    format: Literal["hf", "onnx"] = "hf"
    """Format that task=export writes: a folder for transformers, or a graph for ONNX Runtime."""
    quantize: Literal["none", "bf16", "int8_weight", "int8_dynamic", "int4"] = "none"
    """Format in which the weights of a loaded or exported model are stored."""
    study: str
    """Name of a sweep's directory."""
    question: str | None = None
    """Question that a sweep is to answer; its report begins with it."""
    sweep: tuple[str, ...] = ()
    """Directories of sweeps that are shown, logged or measured: one, or a list."""
    dry_run: bool = False
    """Whether task=dashboard writes a preview and what it would send, and sends nothing."""
    baseline: str | None = None
    """Arm that a report compares the others with, as its table calls it; null: gpt, or where there is none the first.

    Words that name several arms compare each other arm with the one at equal other choices.
    """
    label: dict[str, str] | None = None
    """Names that a report gives to arms, each with the arm as `baseline` would name it; all figures have these arms."""
    tune: tuple[str, ...] = ()
    """Keys on which each arm of a report uses its own best of the values that were tried, by validation loss."""

    @field_validator("cache_dir")
    @classmethod
    def _home(cls, value: Path) -> Path:
        return value.expanduser()

    @field_validator("sweep", "checkpoint", "prompt", "tune", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)


class Settings(Common):
    """Settings of a whole run, checked. `plain` is the config as plain values, for config.yaml."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    task: str
    """Dotted name of the function that does the work."""
    model: Any
    """Config of the model, with vocab_size filled in."""
    model_class: Any
    data: Any
    tokenizer: Any
    optimizer: Any
    schedule: Any
    logger: Any
    budget: Budget
    distill: Distill
    trainer: Trainer
    batch: Batch
    validation: Validation
    generation: Generation
    benchmark: Benchmark
    match: Match | None = None
    finetune: FineTuning | None = None
    latency: Latency | None = None
    eval: Evaluation | None = None
    poc: ProofOfConcept | None = None
    prepare: Preparation | None = None
    teacher: Any = None
    """Config of the model that `distill.from` names."""
    matched: Any = None
    """Result of `match`, a smallgpt.models.matching.Matched."""
    decoding: dict[str, Any] | None = None
    """Section `latency` of the result: what a token takes to decode here, measured where `latency` is chosen."""
    chosen: frozenset[str] = frozenset()
    """Keys that the command line names."""
    overrides: tuple[str, ...] = ()
    variant: str = ""
    """Name of the model's YAML."""
    arm: str = ""
    """Name of the job without its seed, such as `lineargpt lr=0.001`."""
    plain: dict[str, Any]

    @model_validator(mode="after")
    def _whole_batches(self) -> Self:
        if self.on_examples:
            return self._whole_examples()
        if self.task_name not in FROM_CHECKPOINT:  # the others make no batches, and do not take their keys
            return self
        if self.task_name == "poc" and self.checkpoint:  # only adapted, to examples
            return self
        if self.budget.examples is not None:
            raise ValueError(f"budget.examples={self.budget.examples}: of task=finetune on examples; use budget.tokens")
        tokens, micro = self.batch.tokens, self.batch.micro
        unit = self.context * self.trainer.processes
        if tokens % unit:
            nodes = " * trainer.num_nodes" if self.trainer.num_nodes > 1 else ""
            what, near = f"model.block_size * trainer.devices{nodes} = {unit}", nearest_multiples(tokens, unit)
            raise ValueError(f"batch.tokens={tokens}: not a multiple of {what}; nearest that work: {near}")
        sequences = tokens // unit
        if micro and sequences % micro:
            what, near = f"the {sequences} sequences of a step on one device", nearest_divisors(micro, sequences)
            raise ValueError(f"batch.micro={micro}: does not divide {what}; nearest that work: {near}")
        return self

    def _whole_examples(self) -> Self:
        examples, processes, micro = self.batch_examples, self.trainer.processes, self.batch.micro
        for key in ("tokens", "flops"):
            if (value := getattr(self.budget, key)) is not None:
                raise ValueError(
                    f"budget.{key}={value:g}: examples differ in length; use budget.epochs, .examples or .seconds"
                )
        if examples % processes:
            near = nearest_multiples(examples, processes)
            raise ValueError(
                f"batch.examples={examples}: not a multiple of {processes} processes; nearest that work: {near}"
            )
        if micro and (examples // processes) % micro:
            what, near = f"the {examples // processes} examples", nearest_divisors(micro, examples // processes)
            raise ValueError(
                f"batch.micro={micro}: does not divide {what} of a step on one device; nearest that work: {near}"
            )
        return self

    @model_validator(mode="after")
    def _teacher_alone(self) -> Self:
        for key, value in (("trainer.strategy", self.trainer.strategy == "fsdp"), ("compile", self.compile)):
            if value and self.teacher is not None:
                shown = "fsdp" if key == "trainer.strategy" else "true"
                raise ValueError(f"{key}={shown}: cannot be used with a teacher, distill.from=; leave one of them out")
        return self

    @property
    def on_examples(self) -> bool:
        """Whether the training is on examples, each a sequence of its own, and not on running text."""
        return self.task_name == "finetune" and hasattr(self.data, "task_kind")

    @property
    def batch_examples(self) -> int:
        """Effective batch of a training on examples."""
        return self.batch.examples or BATCH_EXAMPLES

    @property
    def context(self) -> int:
        """Number of tokens that the model can read."""
        return self.model.max_position_embeddings

    @property
    def origin(self) -> str | None:
        """Checkpoint whose model takes the place of the config's: a training begins from it, or it is imported."""
        return self.checkpoint[0] if self.checkpoint and self.task_name in (*FROM_CHECKPOINT, "import") else None

    @property
    def task_name(self) -> str:
        """Name of the task, such as `train` of `smallgpt.tasks.train.run`."""
        return self.task.split(".")[-2].removesuffix("_")  # of `import_`, for Python keeps the word to itself

    @property
    def micro_batch_size(self) -> int:
        """Micro-batch: number of sequences of one forward pass on one device."""
        most = max(1, MICRO_BATCH_TOKENS // self.context)
        sequences = self.batch.tokens // (self.context * self.trainer.processes)
        if self.on_examples:
            sequences = self.batch_examples // self.trainer.processes
        return self.batch.micro or max(n for n in range(1, min(most, sequences) + 1) if sequences % n == 0)

    @property
    def accumulation(self) -> int:
        """Gradient accumulation: number of forward passes of one optimizer step on one device."""
        if self.on_examples:
            return self.batch_examples // (self.micro_batch_size * self.trainer.processes)
        return self.batch.tokens // (self.micro_batch_size * self.context * self.trainer.processes)

    def steps(self, training_flops_per_token: float) -> int | None:
        """Number of optimizer steps of the whole run; None where epochs or seconds decide."""
        tokens = self.budget.tokens
        if self.budget.flops is not None:
            tokens = self.budget.flops / training_flops_per_token
        return None if tokens is None else self.steps_for(tokens)

    def steps_for(self, tokens: float) -> int:
        """Number of optimizer steps that see at least so many tokens."""
        return max(1, int(-(-tokens // self.batch.tokens)))
