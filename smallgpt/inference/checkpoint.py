"""Loading a checkpoint: from its name to a model and its tokenizer.

Loading reads weights and text, and executes nothing that comes with them: safetensors only, no code
from the folder or the hub.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

import smallgpt.models  # noqa: F401  registers the variants
from smallgpt.contract.required import require_contract
from smallgpt.data import hub
from smallgpt.errors import UserError, one_line, shown
from smallgpt.files import nearest_beside
from smallgpt.inference import onnx_engine
from smallgpt.inference.checkpoint_files import (
    check_weight_files,
    check_weights,
    checkpoint_tokenizer,
    damaged,
)
from smallgpt.models.configuration import DecoderConfig
from smallgpt.results import TRAINED, read_result, read_weights_record
from smallgpt.run_directory import config_of_run
from smallgpt.settings import Settings
from smallgpt.targets import imported_model


@dataclass(frozen=True)
class Wanted:
    """What the command line asks of the model that `checkpoint=` names."""

    model_type: str | None = None
    """Type that the model must be of; None: any."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Config fields that must have these values."""
    at_inference: dict[str, Any] = field(default_factory=dict)
    """Config fields that are run with these values, whatever the model was trained with."""


ANY = Wanted()


def wanted(settings: Settings) -> Wanted:
    """Reads from the settings what is asked of a checkpoint's model.

    `model.*` overrides given together with `checkpoint=` either apply at inference (the config's `free_at_inference`)
    or have to be the values that the model was trained with.
    """
    config, chosen = settings.model, settings.chosen
    names = {key.split(".")[1] for key in chosen if key.startswith("model.")}
    given = {name: getattr(config, name) for name in config.settable() if name in names}
    free = {name: value for name, value in given.items() if name in config.free_at_inference}
    fixed = {name: value for name, value in given.items() if name not in free}
    return Wanted(config.model_type if "model" in chosen else None, fixed, free)


def locate(checkpoint: str) -> str:
    """Finds the model folder that a run directory, a model folder or a hub name stands for.

    Of a run directory it is the best checkpoint, else the last one, or what task=export has made there.

    Raises:
        UserError: a path with no model.
    """
    path = Path(checkpoint).expanduser()
    if path.is_file():
        other = "; task=import reads nanoGPT's" if path.suffix == ".pt" else ""
        raise UserError(
            f"checkpoint={checkpoint}: a file; name the run directory or a model folder such as {path.parent / 'best'}"
            f"{other}"
        )
    if path.is_dir():
        if onnx_engine.find_onnx_folder(checkpoint):
            raise UserError(f"checkpoint={checkpoint}: an ONNX folder, which task=generate and task=benchmark read")
        for folder in (path, path / "checkpoints" / "best", path / "checkpoints" / "last", path / "hf"):
            if (folder / "config.json").is_file():
                return str(folder)
        raise UserError(
            f"checkpoint={checkpoint}: no model here; a run directory has checkpoints/best, "
            "a model folder has config.json"
        )
    if not hub.is_hub_name(checkpoint):
        raise UserError(
            f"checkpoint={checkpoint}: no such folder{nearest_beside(path)}; name a run directory, a model folder or a "
            "model of the hub"
        )
    return checkpoint


def read_config(checkpoint: str, wanted: Wanted = ANY) -> PreTrainedConfig:
    """Reads the config that a checkpoint's model is to run with, without loading the weights.

    Raises:
        UserError: there is no model, in a folder or on the hub, or it is not the wanted one.
    """
    folder = locate(checkpoint)
    try:
        with hub.within_reach(local=Path(folder).is_dir()):
            make_known(checkpoint, folder)
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except UserError:
        raise
    except Exception as error:  # of whatever lies in the file
        if isinstance(error, OSError) and not Path(folder).is_dir():
            raise UserError(
                f"checkpoint={checkpoint}: no such folder{nearest_beside(Path(folder))}, and the hub, or its cache "
                "where it is out of reach, has no model of that name"
            ) from error
        raise damaged(checkpoint, "config.json", error) from error
    if others := [name for name in config.architectures or () if name.endswith("ForSequenceClassification")]:
        raise UserError(
            f"checkpoint={checkpoint}: {others[0]}, a classifier, which writes no text; name the run that it is from"
        )
    if wanted.model_type not in (None, config.model_type):
        raise UserError(
            f"checkpoint={checkpoint}: a {config.model_type} model, but model= asks for "
            f"{wanted.model_type}; leave model= out, or name a checkpoint of that variant"
        )
    for name, value in (wanted.fields | wanted.at_inference).items():
        own = getattr(config, name, None)
        if value != own and name not in getattr(config, "free_at_inference", ()):
            raise UserError(f"model.{name}={shown(value)}: {checkpoint} was trained with {shown(own)}; leave it out")
    try:
        return type(config)(**{**config.to_dict(), **wanted.at_inference}) if wanted.at_inference else config
    except ValueError as error:
        raise UserError(f"model.{one_line(error)}") from error


def make_known(checkpoint: str, folder: str) -> None:
    """Registers a user's own variant with the library, by importing the class that the run's config.yaml names.

    It is code that is installed here; what lies with the checkpoint is never executed.

    Raises:
        UserError: there is no such class, or no run that names it.
    """
    model_type = PreTrainedConfig.get_config_dict(folder)[0].get("model_type")
    if model_type is None or model_type in CONFIG_MAPPING:
        return
    trained = Path(folder).parent.parent / "config.yaml"
    if not trained.is_file():
        raise UserError(
            f"checkpoint={checkpoint}: a {model_type} model, which is unknown here; name its variant too, "
            "model= with --config-dir"
        )
    model = config_of_run(trained.parent).get("model")
    if not isinstance(model, dict) or "_target_" not in model:
        raise damaged(checkpoint, "config.yaml", "no model._target_")
    imported_model(f"checkpoint={checkpoint}: model", str(model["_target_"]))
    if model_type not in CONFIG_MAPPING:
        raise damaged(checkpoint, "config.json", f"model_type={model_type}, and its run trained {model['_target_']}")


def check_checkpoints(checkpoints: Iterable[str], wanted: Wanted, cache_dir: Path) -> None:
    """Raises UserError for a checkpoint that cannot be used: see `read_config`, and `require_contract` for our models.

    ONNX folders were checked when they were exported.
    """
    for checkpoint in checkpoints:
        if onnx_engine.find_onnx_folder(checkpoint):
            continue
        config = read_config(checkpoint, wanted)
        if isinstance(config, DecoderConfig):
            model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
            require_contract(model_class, config, cache_dir, f"checkpoint={checkpoint}: a {config.model_type} model")


def which_weights(checkpoint: str) -> str | None:
    """Weights of a run that a checkpoint stands for, such as `best, step 900`; None where no run says so."""
    path = Path(checkpoint).expanduser()
    if not path.is_dir() or onnx_engine.find_onnx_folder(checkpoint):
        return None
    record = read_weights_record(Path(locate(checkpoint)))
    return f"{record['checkpoint']}, step {record['step']:,}" if record else None


def variant_of(checkpoint: str) -> str:
    """Name of a checkpoint's model in tables: the variant that the run trained, else the one of its config's class."""
    path = Path(checkpoint).expanduser()
    run = read_result(path) or {}
    if run.get("task") in TRAINED and "variant" in run:
        return run["variant"]
    folder = Path(onnx_engine.find_onnx_folder(checkpoint) or locate(checkpoint))
    if folder.parent.name == "checkpoints" and folder.parent.parent != path:
        return variant_of(str(folder.parent.parent))
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    # a variant is one file in smallgpt/models/, of its name
    return type(config).__module__.rpartition(".")[2] if isinstance(config, DecoderConfig) else config.model_type


def run_of(checkpoint: str) -> str:
    """Run directory that an ONNX folder was exported from, where the graph runs as the model was trained.

    Any other checkpoint stands for itself.
    """
    folder = onnx_engine.find_onnx_folder(checkpoint)
    run = (read_result(folder.parent) or {}).get("checkpoint") if folder else None
    if folder is None or run is None or not Path(run).is_dir():
        return resolved_checkpoint(checkpoint)
    trained, graph = read_config(run), AutoConfig.from_pretrained(folder, trust_remote_code=False)
    names = getattr(trained, "free_at_inference", ())
    return resolved_checkpoint(
        checkpoint if any(getattr(graph, name) != getattr(trained, name) for name in names) else run
    )


def resolved_checkpoint(checkpoint: str) -> str:
    """Absolute path of a checkpoint's folder, so that it has one name however it is written; a hub name stays."""
    path = Path(checkpoint).expanduser()
    return str(path.resolve()) if path.exists() else checkpoint


def load_checkpoint(checkpoint: str, wanted: Wanted = ANY) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads a checkpoint's model, ready for inference, and its tokenizer.

    Args:
        checkpoint: a run directory, a model folder or a hub name.
        wanted: what the model must be, and how it is to run.

    Raises:
        UserError: the checkpoint is missing, damaged, incomplete, or not the wanted model.
    """
    model = load_model(checkpoint, wanted)
    return model, checkpoint_tokenizer(checkpoint, locate(checkpoint), model.config.vocab_size)


def load_model(checkpoint: str, wanted: Wanted = ANY) -> PreTrainedModel:
    """Loads the model alone of a checkpoint, ready for inference; see `load_checkpoint`."""
    config, folder = read_config(checkpoint, wanted), locate(checkpoint)
    disable_progress_bar()
    check_weight_files(checkpoint, Path(folder))
    try:
        with hub.quiet_library():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except Exception as error:
        raise damaged(checkpoint, "the weights", error) from error
    model, report = loaded
    check_weights(checkpoint, model, report)
    return model.eval()
