"""From the name of a checkpoint to a model and its tokenizer.

Loading reads weights and text, and executes nothing that comes with them: safetensors only, no code
from the folder or the hub.
"""

from pathlib import Path

from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

import smallgpt.models  # noqa: F401  registers the variants
from smallgpt.errors import UserError
from smallgpt.inference import onnx_engine
from smallgpt.run_directory import read_result


def locate(checkpoint: str) -> str:
    """The model folder that a run directory, a model folder or a hub name stands for.

    Of a run directory it is the best checkpoint, else the last one, or what task=export has made there.

    Raises:
        UserError: a path with no model.
    """
    path = Path(checkpoint).expanduser()
    if path.is_file():
        raise UserError(
            f"checkpoint={checkpoint}: a file; name the run directory or a model folder such as {path.parent / 'best'}"
        )
    if path.is_dir():
        if onnx_engine.find(checkpoint):
            raise UserError(f"checkpoint={checkpoint}: an ONNX folder, which task=generate and task=benchmark read")
        for folder in (path, path / "checkpoints" / "best", path / "checkpoints" / "last", path / "hf"):
            if (folder / "config.json").is_file():
                return str(folder)
        raise UserError(
            f"checkpoint={checkpoint}: no model here; a run directory has checkpoints/best, "
            "a model folder has config.json"
        )
    # a hub name has at most one slash; `outputs/…` with an existing `outputs` is a path mistyped
    parts = Path(checkpoint).parts
    if len(parts) > 2 or checkpoint.startswith((".", "/", "~")) or Path(parts[0]).is_dir():
        raise UserError(
            f"checkpoint={checkpoint}: no such folder; name a run directory, a model folder or a model of the hub"
        )
    return checkpoint


def check(checkpoint: str) -> None:
    """Raises UserError where there is no model, in a folder or on the hub, without loading its weights."""
    folder = locate(checkpoint)
    try:
        AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _damaged(checkpoint, error) from error


def variant_of(checkpoint: str) -> str:
    """What a table calls the model: the variant that the run trained, else the type that its config says."""
    run = read_result(Path(checkpoint).expanduser()) or {}
    if run.get("task") == "train":
        return run["variant"]
    folder = onnx_engine.find(checkpoint) or locate(checkpoint)
    return AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type


def run_of(checkpoint: str) -> str:
    """The checkpoint from which a graph was exported; any other is its own."""
    if (folder := onnx_engine.find(checkpoint)) is None:
        return checkpoint
    return (read_result(folder.parent) or {}).get("checkpoint", checkpoint)


def _damaged(checkpoint: str, error: Exception) -> UserError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return UserError(f"checkpoint={checkpoint}: cannot be loaded, missing or damaged ({reason})")


def load(checkpoint: str, model_type: str | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model, ready for inference, and its tokenizer.

    Args:
        checkpoint: a run directory, a model folder or a hub name.
        model_type: what the model must be, or None for any.

    Raises:
        UserError: missing, damaged, incomplete, or of another type.
    """
    folder = locate(checkpoint)
    disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if model_type is not None and config.model_type != model_type:
            raise UserError(
                f"checkpoint={checkpoint}: a {config.model_type} model, but model= asks for "
                f"{model_type}; leave model= out, or name a checkpoint of that variant"
            )
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _damaged(checkpoint, error) from error
    # the library fills missing weights with random numbers
    if missing := sorted(report["missing_keys"]):
        raise UserError(f"checkpoint={checkpoint}: {len(missing)} weights are missing, {missing[0]} among them")
    return model.eval(), tokenizer
