"""Export to a folder that `from_pretrained(..., trust_remote_code=True)` of transformers loads without smallgpt."""

import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase
from transformers.dynamic_module_utils import get_relative_import_files

import smallgpt.models
from smallgpt.errors import UserError
from smallgpt.models.decoder import Decoder

IMPORT = re.compile(r"^(\s*from )smallgpt\.models\.(\w+)(?= import)", re.MULTILINE)


def write_hf_folder(model: Decoder, tokenizer: PreTrainedTokenizerBase, folder: Path, bf16: bool) -> None:
    """Writes weights, config, tokenizer and the model's own code, which the library copies with what it imports."""
    if bf16:
        model = model.to(torch.bfloat16)
    with code_goes_along(model):
        model.save_pretrained(folder)
    bring_imported_models(folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def code_goes_along(model: Decoder) -> Generator[None]:
    """Makes `save_pretrained` copy the classes' files within the block; other saves of this process do not."""
    classes = type(model), type(model.config)
    type(model).register_for_auto_class("AutoModelForCausalLM")
    type(model.config).register_for_auto_class()
    try:
        yield
    finally:
        for each in classes:
            each._auto_class = None
        if hasattr(model.config, "auto_map"):
            del model.config.auto_map


def bring_imported_models(folder: Path) -> None:
    """Copies what a variant of the user's own imports from `smallgpt.models` into the folder that it lies in."""
    for path in list(folder.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        for _, name in IMPORT.findall(text):
            module = Path(*smallgpt.models.__path__) / f"{name}.py"
            for needed in (module, *map(Path, get_relative_import_files(module))):
                copy = folder / needed.name
                if copy.exists() and copy.read_bytes() != needed.read_bytes():
                    raise UserError(f"format=hf: smallgpt has a file {needed.name} too; give yours another name")
                shutil.copyfile(needed, copy)
        path.write_text(IMPORT.sub(r"\1.\2", text), encoding="utf-8")
