"""Model folders that `from_pretrained(..., trust_remote_code=True)` of transformers loads where smallgpt is not."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from transformers.dynamic_module_utils import get_relative_import_files

import smallgpt.models
from smallgpt.errors import UserError
from smallgpt.models.decoder import Decoder
from smallgpt.models.sequence_classifier import SequenceClassifier

IMPORT = re.compile(r"^(\s*from )smallgpt\.models\.(\w+)(?= import)", re.MULTILINE)


def write_model(model: Any, folder: Path, weights: dict[str, Any] | None = None) -> None:
    """Writes a model's weights and config, and the code of its classes, which config.json then names.

    Args:
        model: one of smallgpt's, or an adapted one, of which the code is that of its `causal`, or a classifier; one of
            transformers' own needs no code.
        weights: whole ones, where the model has a part of them.

    Raises:
        UserError: a file of the user's own variant has the name of one of smallgpt's that it imports.
    """
    model.save_pretrained(folder, state_dict=weights)
    causal = getattr(model, "causal", model)
    if not isinstance(causal, Decoder | SequenceClassifier):
        return
    # that which names its base model: FSDP derives a class of its own from it
    model_class: Any = next(each for each in type(causal).__mro__ if "base_class" in vars(each))
    classifies = isinstance(causal, SequenceClassifier)
    config_class = type(model.config)
    for each in (model_class, config_class):
        if (source := getattr(sys.modules[each.__module__], "__file__", None)) is None:
            return  # typed in, and not in a file
        for needed in (source, *get_relative_import_files(source)):
            shutil.copyfile(needed, folder / Path(needed).name)
    bring_imported_models(folder)
    classes = {
        "AutoConfig": config_class,
        "AutoModel": model_class.base_class,
        **({} if classifies else {"AutoModelForCausalLM": model_class}),
        "AutoModelForSequenceClassification": model_class if classifies else model_class.classifier_class,
    }
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["auto_map"] = {
        auto: f"{each.__module__.rpartition('.')[2]}.{each.__name__}" for auto, each in classes.items()
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def bring_imported_models(folder: Path) -> None:
    """Copies what a variant of the user's own imports from `smallgpt.models` into the folder that it lies in."""
    for path in list(folder.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        for _, name in IMPORT.findall(text):
            module = Path(*smallgpt.models.__path__) / f"{name}.py"
            for needed in (module, *map(Path, get_relative_import_files(module))):
                copy = folder / needed.name
                if copy.exists() and copy.read_bytes() != needed.read_bytes():
                    raise UserError(
                        f"{needed.name}: a file of the model's own code, and one of smallgpt that it imports has that "
                        "name too; give yours another, so that both fit in a model folder"
                    )
                shutil.copyfile(needed, copy)
        path.write_text(IMPORT.sub(r"\1.\2", text), encoding="utf-8")


def without_code(folder: Path) -> None:
    """Removes the code that `write_model` had begun to bring along."""
    for path in folder.glob("*.py"):
        path.unlink()


def write_context_length(folder: Path, tokens: int) -> None:
    """Notes in a tokenizer's files how many tokens the model beside them reads."""
    path = folder / "tokenizer_config.json"
    if path.is_file():
        config = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(config | {"model_max_length": tokens}, indent=2) + "\n", encoding="utf-8")
