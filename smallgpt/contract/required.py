"""Models that are used must keep the contract; what was found to keep it is remembered."""

import hashlib
import json
import sys
from pathlib import Path
from types import ModuleType

import torch
import transformers

import smallgpt.contract
import smallgpt.models
from smallgpt.contract.check import check_contract
from smallgpt.contract.logits import Broken
from smallgpt.errors import UserError
from smallgpt.files import write_text
from smallgpt.models.configuration import DecoderConfig
from smallgpt.models.decoder import Decoder

LIBRARIES = {"torch", "transformers", "builtins"}

known: set[str] = set()
"""Descriptions of the models that this process has found to keep the contract."""


def require_contract(model_class: type[Decoder], config: DecoderConfig, cache_dir: Path, name: str) -> None:
    """Raises UserError, one line, where the model of `config` breaks the contract of the variants.

    A model that keeps it is remembered in the cache by its code and config, so that the jobs of a sweep check it once.
    Several processes may do so at the same time.

    Args:
        name: the key and value that the message begins with.
    """
    subject = described(model_class, config)
    record = cache_dir / "contract" / f"{hashlib.sha256(subject.encode()).hexdigest()}.json"
    if subject in known or is_recorded(record, subject):
        known.add(subject)
        return
    try:
        check_contract(model_class, config)
    except Broken as error:
        raise UserError(f"{name}: {error}") from error
    known.add(subject)
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        write_text(record, subject)
    except OSError:  # it is checked again next time; what needs the cache says so itself
        pass


def is_recorded(record: Path, subject: str) -> bool:
    """Whether the cache says, undamaged, that a model keeps the contract."""
    try:
        return record.read_text() == subject
    except (OSError, ValueError):
        return False


def described(model_class: type[Decoder], config: DecoderConfig) -> str:
    """Text of all that the answer depends on: the code, the config and the libraries."""
    description = {
        "model": f"{model_class.__module__}.{model_class.__qualname__}",
        "config": {key: getattr(config, key) for key in config.settable()},
        "code": sorted([path.name, hash_of(path)] for path in source_files(model_class)),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    return json.dumps(description, sort_keys=True, indent=2) + "\n"


def hash_of(path: Path) -> str:
    """Hash of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def source_files(model_class: type[Decoder]) -> set[Path]:
    """Files of the variants and of the contract, and what is loaded of the package that has the model, if another."""
    packages = {module.partition(".")[0] for module in own_modules(model_class)} - LIBRARIES - {"smallgpt"}
    loaded = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] in packages]
    rooms = [Path(room.__path__[0]) for room in (smallgpt.models, smallgpt.contract)]
    own = {Path(file) for module in loaded if (file := getattr(module, "__file__", None))}
    return own | {path for room in rooms for path in room.glob("*.py")}


def own_modules(model_class: type[Decoder]) -> set[str]:
    """Names of the modules that define a model's classes and what these inherit from, the libraries' among them."""
    classes = {*model_class.__mro__, *model_class.config_class.__mro__, *model_class.backbone_class.__mro__}
    return {each.__module__ for each in classes}


def model_code(model_class: type[Decoder]) -> dict[str, str]:
    """Hashes of the modules that a model is made of, by their names: those of its classes, and what these import.

    Of smallgpt it is `smallgpt.models` alone, without the other variants; of another package whatever they use of it.
    """
    own = own_modules(model_class)
    rooms = {module.partition(".")[0] for module in own} - LIBRARIES - {"smallgpt"} | {"smallgpt.models"}
    waiting, hashes = sorted(own), {}
    for name in waiting:
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if name in hashes or file is None or not any(f"{name}.".startswith(f"{room}.") for room in rooms):
            continue
        hashes[name] = hash_of(Path(file))
        for value in vars(module).values():
            waiting.append(value.__name__ if isinstance(value, ModuleType) else str(getattr(value, "__module__", "")))
    return dict(sorted(hashes.items()))
