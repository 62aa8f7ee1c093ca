"""A training that begins from a checkpoint: its model and tokenizer take the place of those that were composed.

What is asked of the model beside the checkpoint makes another one, which begins from the same weights where there is a
way from the one to the other, see `smallgpt.models.narrowing`.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from smallgpt.errors import Impossible, UserError, one_line, shown
from smallgpt.launch.config_files import group_files, read_values
from smallgpt.results import read_result
from smallgpt.run_directory import OF_A_SIZE, config_of_run, flat
from smallgpt.settings import one_or_several
from smallgpt.settings.training import DEFAULT_BUDGET_TOKENS
from smallgpt.targets import imported_model, target

OF_A_VARIANT = frozenset(("allow_narrow",))
"""Fields of every model that the variant's own file sets, whatever the block."""


def of_checkpoint(plain: dict[str, Any], chosen: Collection[str], variant: str = "") -> tuple[dict[str, Any], str]:
    """A config whose tokenizer is that of its checkpoint, and its model too but for what was chosen; and the variant.

    A size brings its own `batch.tokens`: where neither is chosen, it is that of the run which left the checkpoint.

    Args:
        plain: resolved config whose `checkpoint` names a run directory, a model folder or a hub name.
        chosen: keys that the command line names.
        variant: name of the model's YAML.

    Raises:
        UserError: there is no such checkpoint, it is no model of smallgpt's, or the model that is asked for
            cannot begin from its weights.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    from smallgpt.data.tokenizers import Pretrained, load_tokenizer
    from smallgpt.inference.checkpoint import locate, read_config, resolved_checkpoint, variant_of
    from smallgpt.models.configuration import DecoderConfig

    several = [str(each) for each in one_or_several(plain["checkpoint"])]
    if len(several) != 1:
        raise UserError(f"checkpoint={several}: a training begins from the weights of one")
    (checkpoint,) = several
    config: Any = read_config(checkpoint)
    if not isinstance(config, DecoderConfig):
        refuse_of_library(plain, chosen, checkpoint, config)
    own_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    model_class, values = own_class, {}
    if isinstance(config, DecoderConfig):
        model_class, values = asked_model(plain, chosen, checkpoint, own_class, config)
        if plain.get("first_weights") != "random":
            refuse_no_way(checkpoint, config, own_class, model_class, values)
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
    if plain.get("budget_with_origin") is True:
        changed["budget"] = with_origin(plain["budget"], checkpoint, folder)
    return {**plain, **changed}, variant_of(checkpoint) if model_class is own_class else variant


def refuse_of_library(plain: dict[str, Any], chosen: Collection[str], checkpoint: str, config: Any) -> None:
    """Raises UserError where a training cannot begin from a model of transformers' own, or asks for another one."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    if not target("task", plain.get("task"))[0].endswith((".finetune.run", ".poc.run")):
        makes = "task=import makes it one of them, " if config.model_type == "gpt2" else ""
        raise UserError(
            f"checkpoint={checkpoint}: a {config.model_type} model, none of smallgpt's, which alone train; "
            f"{makes}task=finetune adapts it"
        )
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(f"checkpoint={checkpoint}: a {config.model_type} model, which predicts no next token")
    asked = {"model": "model="} if "model" in chosen else asked_fields(chosen, plain.get("model") or {})
    if asked:
        word = next(iter(asked.values()))
        raise UserError(f"{word}: unknown to {checkpoint}, a {config.model_type} model; leave it out")


def asked_model(
    plain: dict[str, Any], chosen: Collection[str], checkpoint: str, own_class: Any, config: Any
) -> tuple[Any, dict[str, Any]]:
    """Class and fields of the model to train: those of the checkpoint but for what the command line asks for.

    Of another variant that is what its own file sets, too.
    """
    model_class = asked_class(plain) if "model" in chosen else own_class
    settable = model_class.config_class.settable()
    composed = {key: value for key, value in (plain.get("model") or {}).items() if key != "_target_"}
    asked = asked_fields(chosen, composed)
    if unknown := next((key for key in asked if key not in settable), None):
        raise UserError(f"{asked[unknown]}: unknown to {checkpoint}, a {config.model_type} model; leave it out")
    given = {key: composed[key] for key in asked}
    if model_class is not own_class:
        shared = own_class.config_class.settable().keys() - variant_keys(plain["model"]["_target_"])
        given = {key: composed[key] for key in composed if key in asked or key not in shared}
    own = {key: getattr(config, key) for key in settable if hasattr(config, key)}
    return model_class, own | {key: value for key, value in given.items() if key != "vocab_size" or value is not None}


def variant_keys(path: str) -> set[str]:
    """Fields of a model that the file of its variant sets."""
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    files = (read_values(file) for file in group_files("model", hydra).values())
    return {str(key) for values in files if values.get("_target_") == path for key in values}


def refuse_no_way(checkpoint: str, config: Any, own_class: Any, model_class: Any, values: dict[str, Any]) -> None:
    """Raises UserError where a model cannot begin from the weights of a checkpoint."""
    import torch

    from smallgpt.models.narrowing import refuse_unlike, same_model

    try:
        asked = model_class.config_class(**values)
    except ValueError as error:
        raise Impossible(f"model.{one_line(error)}") from error
    if same_model(asked, config):
        return
    with torch.device("meta"):
        ours, theirs = model_class(asked), own_class(config)
    try:
        refuse_unlike(ours, theirs)
    except ValueError as error:
        raise UserError(f"model.{one_line(error)}; checkpoint={checkpoint} cannot be begun from") from error


def with_origin(budget: dict[str, Any], checkpoint: str, folder: str) -> dict[str, Any]:
    """A budget with the tokens, or the FLOPs, that the run of a checkpoint took to train it."""
    run_dir = Path(folder).parent.parent if Path(folder).parent.name == "checkpoints" else Path(folder)
    result = read_result(run_dir) or {}
    tokens, flops = result.get("train", {}).get("tokens"), result.get("cost", {}).get("training_flops_per_token")
    if tokens is None or flops is None:
        raise UserError(f"budget_with_origin=true: checkpoint={checkpoint} does not say how long it was trained")
    if all(value is None for value in budget.values()):
        budget = {**budget, "tokens": DEFAULT_BUDGET_TOKENS}
    for key, more in (("tokens", tokens), ("flops", tokens * flops)):
        if isinstance(budget.get(key), int | float):
            return {**budget, key: budget[key] + more}
    raise UserError("budget_with_origin=true: adds to budget.tokens or budget.flops; give one of them")


def asked_class(plain: dict[str, Any]) -> Any:
    """Class of the model that a config names."""
    return imported_model("model", target("model", plain.get("model"))[0])


def asked_fields(chosen: Collection[str], given: dict[str, Any]) -> dict[str, str]:
    """Fields of the model that the command line asks for, each with the word that does: a key, a size or a block."""
    from smallgpt.models.configuration import DecoderConfig

    block = set(DecoderConfig.settable()) - set(OF_A_SIZE) - OF_A_VARIANT
    asked: dict[str, str] = {}
    sizes = set(OF_A_SIZE) - {"vocab_size"}  # which is the tokenizer's
    for group, names in (("size", sizes), ("block", block)):
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
