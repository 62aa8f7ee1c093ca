"""What can be set, with types, ranges and defaults.

Every group of the config is a `Group`. Groups that a user chooses from (data, tokenizer, optimizer, schedule, logger)
name their own class with `_target_`; the model names a model class, whose config class says what can be set.
`smallgpt.launch.loading` turns a composed config into `Settings`.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from smallgpt.errors import nearest_divisors, nearest_multiples, shown

MICRO_BATCH_TOKENS = 16_384  # one forward pass, if batch.micro does not say; larger gains nothing on a CPU
DEFAULT_BUDGET_TOKENS = 1_000_000


class Group(BaseModel):
    """Base of every group: unknown keys, NaN and infinity are refused, values never change."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        coerce_numbers_to_str=True,
        protected_namespaces=(),
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic takes true for 1
        if isinstance(value, bool) and info.field_name:
            kind = str(cls.model_fields[info.field_name].annotation)
            if "bool" not in kind and "Any" not in kind:
                raise ValueError(f"{info.field_name}={shown(value)}: must not be true or false")
        return value


def one_or_several(value: Any) -> Any:
    """A list, also of one value that stands alone."""
    if value is None:
        return ()
    return value if isinstance(value, list | tuple) else (str(value),)


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


class Generation(Group):
    max_new_tokens: int = Field(100, gt=0)
    temperature: float = Field(0.8, ge=0)
    """0 is greedy."""
    top_k: int | None = Field(None, gt=0)
    top_p: float | None = Field(None, gt=0, le=1)
    num_beams: int = Field(1, gt=0)
    stop: tuple[str, ...] = ()
    """Texts that end a continuation; they are not part of it."""
    window: bool = False
    """A prompt longer than the context loses its beginning; else it is refused."""

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)


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


class Evaluation(Group):
    """What a checkpoint is asked; a choice of the group `eval`."""

    tasks: tuple[str, ...] = ()
    """Tasks, groups or tags of the evaluation harness."""
    path: tuple[Path, ...] = ()
    """A user's own tasks: files of JSON lines."""
    corpora: tuple[str, ...] = ()
    """Files or folders of text, or their names in data_dir, for bits per byte."""
    split: Literal["train", "validation", "test"] = "test"
    """Of a corpus that has it."""
    field: str = "text"
    """Which field or column of a corpus holds the text."""
    document_start: str | None = None
    """Where the rows of a corpus are lines: the pattern of a document's first one."""
    prompts: Path | None = None
    """A file, one prompt a line, that the model continues freely."""
    words: Path | None = None
    """A file, one word a line, that is looked for in the continuations."""
    samples: int = Field(5, gt=0)
    """Continuations of each prompt."""
    data_dir: Path | None = None
    """A folder with the tasks' data; null: the hub."""
    num_fewshot: int = Field(0, ge=0)
    limit: int | None = Field(None, gt=0)
    """At most so many items of a task, the same for every model."""
    label_prompt: str = "\nLabel:"
    """Between a text and its label, in a task of one's own."""
    long_options: Literal["refuse", "windows"] = "refuse"
    """What becomes of an option longer than the model's context: windows scores it piece by piece."""
    precision: Literal["fp32", "bf16"] = "fp32"
    untrained: bool = True
    """Also ask a model of the same config with random weights."""
    paper_scoring: bool = False
    """Also score as the code of arXiv 2404.14462 does, which is wrong, to show what that does."""

    @field_validator("tasks", "path", "corpora", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)

    @field_validator("document_start")
    @classmethod
    def _a_pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"document_start={shown(value)}: not a pattern ({error})") from None
        return value

    @model_validator(mode="after")
    def _something_to_ask(self) -> Self:
        if (self.prompts is None) != (self.words is None):
            given, other = ("prompts", "words") if self.words is None else ("words", "prompts")
            raise ValueError(f"{given}={getattr(self, given)}: needs eval.{other} too")
        if not (self.tasks or self.path or self.corpora or self.prompts):
            raise ValueError(
                "tasks=null: nothing to evaluate; give eval.tasks, eval.path, eval.corpora or eval.prompts"
            )
        return self


class Benchmark(Group):
    """What task=benchmark measures."""

    prompts: tuple[Annotated[int, Field(gt=0)] | None, ...] = (64, None)
    """Lengths in tokens, read in one go; null: the whole context. Decoding follows a prompt of the first length."""
    batches: tuple[Annotated[int, Field(gt=0)], ...] = (1, 8, 32)
    """Sequences that are decoded at once."""
    new_tokens: int = Field(64, gt=1)
    rounds: int = Field(5, gt=0)
    """Each measures every model once, in turn."""
    to: str = "gpt"
    """Name of the YAML of the baseline that a config is measured with."""
    baseline: dict[str, Any] = {}
    """The values of that file."""
    profile: bool = True
    """Also where the time of a token goes."""

    @field_validator("prompts", "batches", mode="before")
    @classmethod
    def _some(cls, value: Any, info: ValidationInfo) -> Any:
        several = list(value) if isinstance(value, list | tuple) else [value]
        if not several:
            raise ValueError(f"{info.field_name}=[]: must name at least one")
        return tuple(dict.fromkeys(several))


class Common(Group):
    """What belongs to no group."""

    prompt: tuple[str, ...] = ()
    """What task=generate continues: one text, or a list; none: the start of a document."""
    checkpoint: tuple[str, ...] = ()
    """Run directories, model folders or names on the hub: one, or a list."""
    resume: Literal["auto", "last"] | None = None
    """auto: go on from the last checkpoint in the run directory, where there is one; last: in the last run's."""
    seed: int = Field(1337, ge=0, lt=2**32)
    cache_dir: Path
    """Where prepared data and measured latencies are kept."""
    log_every: int = Field(10, gt=0)
    """Optimizer steps between rows of metrics.csv."""
    compile: bool = False
    """Training, and the step that makes a token in task=generate and task=benchmark."""
    format: Literal["hf", "onnx"] = "hf"
    """What task=export makes: a folder for transformers, or a graph for ONNX Runtime."""
    quantize: Literal["none", "bf16", "int8_weight", "int8_dynamic", "int4"] = "none"
    """How the weights of a loaded or exported model are stored."""
    study: str
    """Name of a sweep's directory."""
    question: str | None = None
    """What a sweep is to answer; its report begins with it."""
    sweep: tuple[str, ...] = ()
    """Directories of sweeps that task=report shows and task=benchmark measures: one, or a list."""
    dry_run: bool = False
    """task=dashboard writes what it would send, and sends nothing."""
    baseline: str | None = None
    """The arm that a report compares the others with, as its table calls it; null: the one arm of gpt, or the first."""

    @field_validator("cache_dir")
    @classmethod
    def _home(cls, value: Path) -> Path:
        return value.expanduser()

    @field_validator("sweep", "checkpoint", "prompt", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)


class Settings(Common):
    """A whole run, checked. `plain` is the config as plain values, for config.yaml."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    task: str
    """Dotted name of the function that does the work."""
    model: Any
    """The model's config, with vocab_size filled in."""
    model_class: Any
    data: Any
    tokenizer: Any
    optimizer: Any
    schedule: Any
    logger: Any
    budget: Budget
    trainer: Trainer
    batch: Batch
    validation: Validation
    generation: Generation
    benchmark: Benchmark
    match: Match | None = None
    eval: Evaluation | None = None
    matched: Any = None
    """What `match` has come to, a smallgpt.models.matching.Matched."""
    chosen: frozenset[str] = frozenset()
    """Keys that the command line names."""
    overrides: tuple[str, ...] = ()
    variant: str = ""
    """Name of the model's YAML."""
    plain: dict[str, Any]

    @model_validator(mode="after")
    def _whole_batches(self) -> Self:
        tokens, micro = self.batch.tokens, self.batch.micro
        unit = self.model.block_size * self.trainer.processes
        if tokens % unit:
            nodes = " * trainer.num_nodes" if self.trainer.num_nodes > 1 else ""
            what, near = f"model.block_size * trainer.devices{nodes} = {unit}", nearest_multiples(tokens, unit)
            raise ValueError(f"batch.tokens={tokens}: not a multiple of {what}; nearest that work: {near}")
        sequences = tokens // unit
        if micro and sequences % micro:
            what, near = f"the {sequences} sequences of a step on one device", nearest_divisors(micro, sequences)
            raise ValueError(f"batch.micro={micro}: does not divide {what}; nearest that work: {near}")
        return self

    @property
    def task_name(self) -> str:
        """`train` of `smallgpt.tasks.train.run`."""
        return self.task.split(".")[-2]

    @property
    def micro_batch_size(self) -> int:
        """Sequences of one forward pass on one device."""
        sequences = self.batch.tokens // (self.model.block_size * self.trainer.processes)
        most = max(1, MICRO_BATCH_TOKENS // self.model.block_size)
        return self.batch.micro or max(n for n in range(1, min(most, sequences) + 1) if sequences % n == 0)

    @property
    def accumulation(self) -> int:
        """Forward passes of one optimizer step on one device."""
        return self.batch.tokens // (self.micro_batch_size * self.model.block_size * self.trainer.processes)

    def steps(self, training_flops_per_token: float) -> int | None:
        """Optimizer steps of the whole run; None where epochs or seconds decide."""
        tokens = self.budget.tokens
        if self.budget.flops is not None:
            tokens = self.budget.flops / training_flops_per_token
        return None if tokens is None else self.steps_for(tokens)

    def steps_for(self, tokens: float) -> int:
        """Optimizer steps that see at least so many tokens."""
        return max(1, int(-(-tokens // self.batch.tokens)))
