"""What can be set, with types, ranges and defaults; `load` turns a composed config into checked `Settings`.

Every group of the config is a `Group`. Groups that a user chooses from (data, tokenizer, optimizer, schedule, logger)
name their own class with `_target_`; the model names a model class, whose config class says what can be set.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from smallgpt.errors import (
    Impossible,
    UserError,
    explain,
    nearest_divisors,
    nearest_key,
    nearest_multiples,
    one_line,
    shown,
)

MICRO_BATCH_TOKENS = 16_384  # one forward pass, if batch.micro does not say; larger gains nothing on a CPU
DEFAULT_BUDGET_TOKENS = 1_000_000
CHOSEN_GROUPS = ("data", "tokenizer", "optimizer", "schedule", "logger")
GROUPS = ("budget", "trainer", "batch", "validation", "generation")
DERIVED = {"model_class", "matched", "chosen", "overrides", "variant", "plain"}


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


GroupType = TypeVar("GroupType", bound=Group)


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

    quantity: Literal["params", "flops"]
    """Parameters, or training FLOPs a token."""
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


class Common(Group):
    """What belongs to no group."""

    prompt: str | None = None
    checkpoint: str | None = None
    """A run directory, a model folder or a name on the hub."""
    resume: Literal["auto", "last"] | None = None
    """auto: go on from the last checkpoint in the run directory, where there is one; last: in the last run's."""
    seed: int = Field(1337, ge=0, lt=2**32)
    cache_dir: Path
    """Where prepared data is kept."""
    log_every: int = Field(10, gt=0)
    """Optimizer steps between rows of metrics.csv."""
    compile: bool = False
    study: str
    """Name of a sweep's directory."""
    question: str | None = None
    """What a sweep is to answer; its report begins with it."""
    sweep: tuple[str, ...] = ()
    """Directories of sweeps that task=report shows: one, or a list."""
    dry_run: bool = False
    """task=dashboard writes what it would send, and sends nothing."""
    baseline: str | None = None
    """The arm that a report compares the others with, as its table calls it; null: the one arm of gpt, or the first."""

    @field_validator("cache_dir")
    @classmethod
    def _home(cls, value: Path) -> Path:
        return value.expanduser()

    @field_validator("sweep", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        if value is None:
            return ()
        return value if isinstance(value, list | tuple) else (str(value),)


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
    match: Match | None = None
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


def load(cfg: DictConfig, overrides: Sequence[str] = (), variant: str = "") -> Settings:
    """Checks a config, without Hydra's own node, that the words `overrides` of a command line have changed.

    Raises UserError for the first thing that is wrong.
    """
    plain = resolved(cfg)
    names = set(Settings.model_fields) - DERIVED
    for key, value in plain.items():
        if key not in names:
            raise UserError(f"{key}={shown(value)}: unknown key{nearest_key(key, names)}")
    fields: dict[str, Any] = {name: build_group(name, plain) for name in (*CHOSEN_GROUPS, *GROUPS)}
    build(Common, "", {key: plain[key] for key in Common.model_fields if key in plain})
    # last: it is the only one that imports PyTorch
    fields["model_class"], fields["model"] = build_model(plain, fields["tokenizer"])
    if plain.get("match") is not None:
        fields["match"] = build(Match, "match", plain["match"])
        fields["matched"] = matched(fields["match"], variant, plain["model"], fields["model"])
        fields["model"] = fields["matched"].config
    fields["task"] = target("task", plain.get("task"))[0]
    fields["chosen"] = frozenset(text.lstrip("+~").partition("=")[0].partition("@")[0] for text in overrides)
    given = {"overrides": tuple(overrides), "variant": variant}
    return build(Settings, "", {**plain, **fields, **given, "plain": plain})


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The config as plain values."""
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key}=???: has no default; give {error.full_key}=<value>") from None
    except OmegaConfBaseException as error:
        raise UserError(of_omegaconf(error)) from None
    return cast(dict[str, Any], plain)


def of_omegaconf(error: OmegaConfBaseException) -> str:
    """Its message with the key in front; or that of a resolver of ours."""
    text = one_line(error).partition(" full_key:")[0]
    _, of_resolver, message = text.partition("UserError raised while resolving interpolation: ")
    return message if of_resolver else f"{error.full_key}: {text}"


def target(name: str, values: Any) -> tuple[str, dict[str, Any]]:
    """The `_target_` of a chosen group and its other values."""
    if not isinstance(values, dict) or "_target_" not in values:
        raise UserError(f"{name}={shown(values)}: not one of the choices; see `python run.py --help`")
    return str(values["_target_"]), {key: value for key, value in values.items() if key != "_target_"}


def imported(name: str, path: str) -> Any:
    module, _, attribute = path.rpartition(".")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{name}._target_={path}: cannot be imported ({one_line(error)})") from error


def schema_of(name: str, values: Any) -> type[Group]:
    """What can be set in a group of the config."""
    field = Settings.model_fields[name].annotation
    if isinstance(field, type) and issubclass(field, Group):
        return field
    chosen = imported(name, target(name, values)[0])
    if name == "model":
        settable = chosen.config_class.settable()
        fields: dict[str, Any] = {key: (hint, None) for key, hint in settable.items()}
        return create_model("Model", __base__=Group, **fields)
    if not (isinstance(chosen, type) and issubclass(chosen, Group)):
        raise UserError(f"{name}._target_={values['_target_']}: not a class of settings")
    return chosen


def build_group(name: str, plain: dict[str, Any]) -> Group:
    values = plain.get(name)
    schema = schema_of(name, values)
    return build(schema, name, target(name, values)[1] if name in CHOSEN_GROUPS else values)


def build_model(plain: dict[str, Any], tokenizer: Any) -> tuple[Any, Any]:
    """The model class and its config, with the tokenizer's vocabulary where none is given."""
    path, values = target("model", plain.get("model"))
    schema = schema_of("model", plain["model"])
    given = values.get("vocab_size")
    if given is None:
        values["vocab_size"] = tokenizer.padded_vocab_size
    checked = build(schema, "model", values)
    fields = {key: getattr(checked, key) for key in values}
    least = tokenizer.vocab_size or tokenizer.padded_vocab_size
    if fields["vocab_size"] < least:
        raise UserError(f"model.vocab_size={given}: the tokenizer has {least} tokens; null takes its number")
    try:
        return (model_class := imported("model", path)), model_class.config_class(**fields)
    except ValueError as error:
        raise Impossible(f"model.{one_line(error)}") from error


def matched(match: Match, variant: str, values: dict[str, Any], config: Any) -> Any:
    """The model at the size where it costs what the baseline does at this one."""
    from smallgpt.models.matching import solve

    path, own = target("match.baseline", match.baseline)
    baseline_class = imported("match.baseline", path).config_class
    shared = {key: getattr(config, key) for key in values if key in baseline_class.settable()}
    try:
        baseline = baseline_class(**{**shared, **own})
        return solve(config, baseline, match.quantity, match.exclude_embeddings, match.depth, match.tolerance)
    except ValueError as error:
        raise Impossible(f"match.to={match.to}: {variant or config.model_type}: {one_line(error)}") from error


def build(schema: type[GroupType], name: str, values: Any) -> GroupType:
    """An instance of a group. Raises UserError for its first fault, found by pydantic, in our words."""
    if not isinstance(values, dict):
        raise UserError(f"{name}={shown(values)}: must be a group, such as {name}.{next(iter(schema.model_fields))}=")
    prefix = f"{name}." if name else ""
    unknown = [key for key in values if key not in schema.model_fields]
    if unknown:
        keys = [f"{prefix}{key}" for key in schema.model_fields]
        key = f"{prefix}{unknown[0]}"
        raise UserError(f"{key}={shown(values[unknown[0]])}: unknown key{nearest_key(key, keys)}")
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise UserError(explain(error, prefix)) from None
