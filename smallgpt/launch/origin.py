"""A training that begins from a checkpoint: its model and tokenizer take the place of those that were composed."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from smallgpt.errors import UserError, shown
from smallgpt.run_directory import OF_A_SIZE, config_of_run, flat
from smallgpt.settings import one_or_several
from smallgpt.targets import imported_model, target

FREE = frozenset(("dropout",))
"""Fields of a model that a training may set anew: they change no weight's shape."""
OF_A_VARIANT = frozenset(("allow_narrow",))
"""Fields of every model that the variant's own file sets, whatever the block."""


def of_checkpoint(plain: dict[str, Any], chosen: Collection[str]) -> tuple[dict[str, Any], str]:
    """A config whose model and tokenizer are those of its checkpoint, and the name of the variant.

    A size brings its own `batch.tokens`: where neither is chosen, it is that of the run which left the checkpoint.

    Args:
        plain: resolved config whose `checkpoint` names a run directory, a model folder or a hub name.
        chosen: keys that the command line names.

    Raises:
        UserError: there is no such checkpoint, it is no model of smallgpt's, or what was chosen differs from it.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    from smallgpt.data.tokenizers import Pretrained, load_tokenizer
    from smallgpt.inference.checkpoint import Wanted, locate, read_config, resolved_checkpoint, variant_of
    from smallgpt.models.configuration import DecoderConfig

    several = [str(each) for each in one_or_several(plain["checkpoint"])]
    if len(several) != 1:
        raise UserError(f"checkpoint={several}: a training begins from the weights of one")
    (checkpoint,) = several
    given = {key: value for key, value in (plain.get("model") or {}).items() if key != "_target_"}
    config = read_config(checkpoint, Wanted(asked_type(plain) if "model" in chosen else None))
    own_variant = isinstance(config, DecoderConfig)
    if not own_variant and not adapts(plain):
        makes = "task=import makes it one of them, " if config.model_type == "gpt2" else ""
        raise UserError(
            f"checkpoint={checkpoint}: a {config.model_type} model, none of smallgpt's, which alone train; "
            f"{makes}task=finetune adapts it"
        )
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(f"checkpoint={checkpoint}: a {config.model_type} model, which predicts no next token")
    settable = config.settable() if own_variant else {}
    free = FREE | config.free_at_inference if own_variant else frozenset()
    for key, word in asked_fields(chosen, given).items():
        own = getattr(config, key, None)
        if key not in settable or (key not in free and given[key] != own):
            raise UserError(
                f"{word}: {checkpoint} has {key}={shown(own)}, not {shown(given[key])}; leave it out"
                if key in settable
                else f"{word}: unknown to {checkpoint}, a {config.model_type} model; leave it out"
            )
    values = {key: getattr(config, key) for key in settable}
    values |= {key: given[key] for key in free if f"model.{key}" in chosen}
    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    folder = locate(checkpoint)
    name = str(Path(folder).resolve()) if Path(folder).is_dir() else folder
    tokens = len(load_tokenizer(name))
    changed = {
        "checkpoint": resolved_checkpoint(checkpoint),
        "model": {"_target_": f"{model_class.__module__}.{model_class.__qualname__}", **values},
        "tokenizer": {
            "_target_": f"{Pretrained.__module__}.{Pretrained.__qualname__}",
            "name": name,
            "vocab_size": tokens,
        },
    }
    if not {"size", "batch.tokens"} & set(chosen) and (batch_tokens := of_run(folder)):
        changed["batch"] = {**plain["batch"], "tokens": batch_tokens}
    return {**plain, **changed}, variant_of(checkpoint)


def adapts(plain: dict[str, Any]) -> bool:
    """Whether the task of a config adapts models of any kind."""
    return target("task", plain.get("task"))[0].endswith(".finetune.run")


def asked_type(plain: dict[str, Any]) -> str:
    """Type of the model that a config names."""
    return imported_model("model", target("model", plain.get("model"))[0]).config_class.model_type


def asked_fields(chosen: Collection[str], given: dict[str, Any]) -> dict[str, str]:
    """Fields of the model that the command line asks for, each with the word that does: a key, a size or a block."""
    from smallgpt.models.configuration import DecoderConfig

    block = set(DecoderConfig.settable()) - set(OF_A_SIZE) - OF_A_VARIANT
    asked: dict[str, str] = {}
    for group, names in (("size", OF_A_SIZE), ("block", block)):
        if group in chosen:
            asked |= {name: f"{group}=" for name in names if given.get(name) is not None}
    own = {key.partition(".")[2] for key in chosen if key.startswith("model.")}
    return asked | {name: f"model.{name}={shown(given[name])}" for name in own if name in given}


def of_run(folder: str) -> int | None:
    """Tokens of an optimizer step of the run that left a model folder; None where no run says so."""
    path = Path(folder).parent.parent / "config.yaml"
    if Path(folder).parent.name != "checkpoints" or not path.is_file():
        return None
    tokens = flat(config_of_run(path.parent)).get("batch.tokens")
    return tokens if isinstance(tokens, int) else None
