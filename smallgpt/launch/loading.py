"""Loading of settings: a composed config becomes checked `Settings`, or a UserError names the first fault."""

from collections.abc import Sequence
from functools import cache, partial
from inspect import signature
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import ValidationError, create_model

from smallgpt.errors import Impossible, UserError, explain, nearest_key, one_line, program, shown
from smallgpt.launch.bounds import refuse_oversized_model
from smallgpt.launch.config_files import group_files
from smallgpt.launch.foreign import of_foreign
from smallgpt.launch.known import Known
from smallgpt.launch.origin import of_checkpoint
from smallgpt.launch.size_matching import decoding_latency, matched_size
from smallgpt.launch.teacher import checked_teacher
from smallgpt.settings import (
    Common,
    Evaluation,
    FineTuning,
    Group,
    Latency,
    Match,
    Preparation,
    ProofOfConcept,
    Settings,
    one_or_several,
)
from smallgpt.targets import imported, imported_model, imported_task, target

FINETUNE = "smallgpt.tasks.finetune.run"
POC = "smallgpt.tasks.poc.run"
ADAPTING = (FINETUNE, POC)
"""Tasks that also begin from models of transformers' own."""
TRAINING = ("smallgpt.tasks.train.run", "smallgpt.tasks.inspect.run", *ADAPTING)
EPOCHS = 3
"""Budget of a training on examples where none is given."""
IMPORT = "smallgpt.tasks.import_.run"
WITHOUT_MODEL = ("smallgpt.tasks.doctor.run", "smallgpt.tasks.watch.run")
"""Tasks that begin at once, for they do without a model's class and so without PyTorch."""
CHOSEN_GROUPS = ("data", "tokenizer", "optimizer", "schedule", "logger")
GROUPS = ("budget", "distill", "trainer", "batch", "validation", "generation", "benchmark")
MEMBERS = {  # of the classes that may stand for a group, smallgpt's own or a user's
    "data": ("name", "parts", "fingerprint", "check"),
    "tokenizer": ("padded_vocab_size", "build", "fingerprint", "check"),
    "optimizer": ("lr", "build"),
    "schedule": ("for_steps", "factor"),
    "logger": ("build",),
}
DERIVED = {"model_class", "matched", "teacher", "decoding", "chosen", "overrides", "variant", "arm", "plain"}

GroupType = TypeVar("GroupType", bound=Group)


def load_settings(cfg: DictConfig, overrides: Sequence[str] = (), variant: str = "", arm: str = "") -> Settings:
    """Checked settings of a composed config; `overrides` are the words of the command line that changed it.

    Raises UserError for the first thing that is wrong.
    """
    return checked_config(resolved_config(cfg), overrides, variant, arm)


def checked_config(
    plain: dict[str, Any],
    overrides: Sequence[str] = (),
    variant: str = "",
    arm: str = "",
    known: Known | None = None,
) -> Settings:
    """Checked settings of a config of plain values; its groups and model may be known from other jobs of a sweep."""
    known = known or Known()
    refuse_several_choices(overrides)
    if task_path(plain) == FINETUNE:
        plain = for_finetuning(plain)
    composed = variant
    if is_import(plain):
        plain, variant = of_foreign(plain, chosen_keys(overrides))
    elif begins_from_checkpoint(plain):
        plain, variant = of_checkpoint(plain, chosen_keys(overrides), variant)
        if task_path(plain) == POC:  # the recipe's match is of the candidates that are trained here
            plain = {key: value for key, value in plain.items() if key != "match"}
    arm = variant + arm.removeprefix(composed)
    names = set(Settings.model_fields) - DERIVED
    for key, value in plain.items():
        if key not in names:
            raise UserError(f"{key}={shown(value)}: unknown key{nearest_key(key, names)}")
    fields: dict[str, Any] = {
        name: known.once(partial(build_group, name, plain), name, plain.get(name)) for name in (*CHOSEN_GROUPS, *GROUPS)
    }
    common = build(Common, "", {key: plain[key] for key in Common.model_fields if key in plain})
    fields["task"] = target("task", plain.get("task"))[0]
    imported_task(fields["task"])
    fields["chosen"] = chosen_keys(overrides)
    given = {"overrides": tuple(overrides), "variant": variant, "arm": arm or variant}
    if fields["task"] in WITHOUT_MODEL:
        fields["model_class"] = fields["model"] = None
        return build(Settings, "", {**plain, **fields, **given, "plain": plain})
    # last: it is the only one that imports PyTorch
    model = partial(build_model, "model", plain.get("model"), fields["tokenizer"])
    fields["model_class"], fields["model"] = model_of_library(plain) or known.once(
        model, "model", plain.get("model"), plain["tokenizer"]
    )
    if plain.get("finetune") is not None:
        fields["finetune"] = build(FineTuning, "finetune", plain["finetune"])
    if (distill := fields["distill"]).teacher is not None and is_training(plain):
        name, fields["teacher"] = checked_teacher(distill.teacher, fields["model"], fields["tokenizer"])
        plain = {**plain, "distill": {**plain["distill"], "from": name}}
        fields["distill"] = build_group("distill", plain)
    if plain.get("match") is not None:
        fields["match"] = build(Match, "match", plain["match"])
        baseline = {**fields["match"].reference, **(fields["match"].baseline or {})}
        to = baseline_model("match.baseline", baseline, fields)
        fields["matched"] = matched_size(fields, to, variant, common.cache_dir)
        fields["model"] = fields["matched"].config
    if plain.get("latency") is not None:
        fields["latency"] = build(Latency, "latency", plain["latency"])
        to = baseline_model("latency.reference", fields["latency"].reference, fields)
        fields["decoding"] = decoding_latency(fields, to, common.cache_dir)
    if plain.get("poc") is not None:
        fields["poc"] = build(ProofOfConcept, "poc", plain["poc"])
    if plain.get("prepare") is not None:
        fields["prepare"] = build(Preparation, "prepare", plain["prepare"])
    if plain.get("eval") is not None:
        fields["eval"] = build(Evaluation, "eval", plain["eval"])
    return build(Settings, "", {**plain, **fields, **given, "plain": plain})


def chosen_keys(overrides: Sequence[str]) -> frozenset[str]:
    """Keys and groups that words of a command line name."""
    return frozenset(text.lstrip("+~").partition("=")[0].partition("@")[0] for text in overrides)


def begins_from_checkpoint(plain: dict[str, Any]) -> bool:
    """Whether a config trains, or prices, a model that begins from the weights of a checkpoint."""
    return bool(plain.get("checkpoint")) and is_training(plain)


def is_training(plain: dict[str, Any]) -> bool:
    """Whether the task of a config trains a model, or prices the training."""
    return task_path(plain) in TRAINING


def task_path(plain: dict[str, Any]) -> str:
    """Dotted name of a config's task; empty where there is none."""
    task = plain.get("task")
    return str(task.get("_target_")) if isinstance(task, dict) else ""


def for_finetuning(plain: dict[str, Any]) -> dict[str, Any]:
    """A config of task=finetune with its own defaults. Raises UserError where it names no checkpoint."""
    if not plain.get("checkpoint"):
        raise UserError(
            "checkpoint=null: task=finetune needs the run directory, model folder or hub name to begin from"
        )
    budget, data = plain.get("budget"), plain.get("data")
    if not isinstance(budget, dict) or any(value is not None for value in budget.values()):
        return plain
    of_examples = hasattr(schema_of("data", data), "task_kind")
    return {**plain, "budget": {**budget, "epochs": EPOCHS}} if of_examples else plain


def model_of_library(plain: dict[str, Any]) -> tuple[Any, Any] | None:
    """Class and config of a model of transformers' own, which a fine-tuning begins from; None for one of smallgpt's."""
    path, _ = target("model", plain.get("model"))
    if task_path(plain) not in ADAPTING or not path.startswith("transformers."):
        return None
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    from smallgpt.inference.checkpoint import read_config

    (checkpoint,) = one_or_several(plain["checkpoint"])
    config: Any = read_config(checkpoint)
    return MODEL_FOR_CAUSAL_LM_MAPPING[type(config)], config


def refuse_several_choices(words: Sequence[str]) -> None:
    """Raises UserError for a word that chooses several files of a group, which Hydra would lay over each other."""
    for word in words:
        group, _, value = word.partition("=")
        if value.startswith("[") and group_files(group, None):
            raise UserError(f"{word}: several choices, and one is taken; -m {group}=A,B runs a job for each")


def is_import(plain: dict[str, Any]) -> bool:
    """Whether a config takes over a model of another program."""
    return task_path(plain) == IMPORT


def resolved_config(cfg: DictConfig) -> dict[str, Any]:
    """Config as plain Python values, with its interpolations resolved, without Hydra's own node."""
    try:
        plain = {str(key): plain_values(cfg[key]) for key in cfg if key != "hydra"}
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key}=???: has no default; give {error.full_key}=<value>") from None
    except OmegaConfBaseException as error:
        raise UserError(of_omegaconf(error)) from None
    return plain


def plain_values(node: Any) -> Any:
    """A node of a config as plain values, resolved."""
    return OmegaConf.to_container(node, resolve=True, throw_on_missing=True) if OmegaConf.is_config(node) else node


def of_omegaconf(error: OmegaConfBaseException) -> str:
    """Message of an OmegaConf error, with its key in front, or that of the resolver of ours which raised it."""
    text = one_line(error).partition(" full_key:")[0]
    _, of_resolver, message = text.partition("UserError raised while resolving interpolation: ")
    return message if of_resolver else f"{error.full_key}: {text}"


def schema_of(name: str, values: Any) -> type[Group]:
    """Class whose fields are what can be set in a group of the config."""
    field = Settings.model_fields[name].annotation
    if isinstance(field, type) and issubclass(field, Group):
        return field
    path = target(name, values)[0]
    if name == "model":
        return model_schema(imported_model(name, path))
    chosen = imported(name, path)
    if not (isinstance(chosen, type) and issubclass(chosen, Group)):
        raise UserError(f"{name}._target_={shown(path)}: not a class of settings")
    known = {*dir(chosen), *chosen.model_fields}
    missing = [member for member in MEMBERS[name] if member not in known]
    if missing or (
        name == "logger" and len(signature(chosen.build).parameters) != len(("self", "settings", "run_dir"))
    ):
        raise UserError(f"{name}._target_={shown(path)}: no {name}, which has {', '.join(missing or MEMBERS[name])}")
    return chosen


@cache  # pydantic takes a while to make a class
def model_schema(model_class: Any) -> type[Group]:
    """What can be set of a model."""
    fields: dict[str, Any] = {key: (hint, None) for key, hint in model_class.config_class.settable().items()}
    return create_model("Model", __base__=Group, **fields)


def build_group(name: str, plain: dict[str, Any]) -> Group:
    """Checked settings of the group `name` of a config."""
    values = plain.get(name)
    schema = schema_of(name, values)
    return build(schema, name, target(name, values)[1] if name in CHOSEN_GROUPS else values)


def baseline_model(name: str, values: dict[str, Any], fields: dict[str, Any]) -> tuple[Any, Any]:
    """The class and config of the baseline that a size is solved for, or a latency is measured beside."""
    if values.get("vocab_size") is None:
        values = {**values, "vocab_size": fields["model"].vocab_size}
    return build_model(name, values, fields["tokenizer"])


def build_model(name: str, chosen: Any, tokenizer: Any) -> tuple[Any, Any]:
    """A model class and its config, with the tokenizer's vocabulary where none is given."""
    path, values = target(name, chosen)
    model_class = imported_model(name, path)
    schema = model_schema(model_class)
    given = values.get("vocab_size")
    if given is None:
        values["vocab_size"] = tokenizer.padded_vocab_size
    checked = build(schema, name, values)
    fields = {key: getattr(checked, key) for key in values}
    refuse_oversized_model(name, model_class.config_class, fields, given is not None)
    least = tokenizer.vocab_size or tokenizer.padded_vocab_size
    if fields["vocab_size"] < least:
        raise UserError(f"{name}.vocab_size={given}: the tokenizer has {least} tokens; null takes its number")
    try:
        return model_class, model_class.config_class(**fields)
    except ValueError as error:
        raise Impossible(f"{name}.{one_line(error)}") from error


def build(schema: type[GroupType], name: str, values: Any) -> GroupType:
    """Instance of a group of settings; raises UserError, in words of ours, for the first fault that pydantic finds."""
    if values is None:
        raise UserError(f"{name}: nothing is chosen; give {name}=<choice>, see `{program()} --help`")
    if not isinstance(values, dict):
        raise UserError(f"{name}={shown(values)}: must be a group, such as {name}.{schema.written_keys()[0]}=")
    prefix = f"{name}." if name else ""
    unknown = [key for key in values if key not in schema.written_keys()]
    if unknown:
        keys = [f"{prefix}{key}" for key in schema.written_keys()]
        key = f"{prefix}{unknown[0]}"
        raise UserError(f"{key}={shown(values[unknown[0]])}: unknown key{nearest_key(key, keys)}")
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise UserError(explain(error, prefix)) from None
