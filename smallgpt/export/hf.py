"""Export to a folder that `from_pretrained(..., trust_remote_code=True)` of transformers loads without smallgpt."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from smallgpt.models.decoder import Decoder


def write_hf_folder(model: Decoder, tokenizer: PreTrainedTokenizerBase, folder: Path, bf16: bool) -> None:
    """Writes weights, config, tokenizer and the model's own code, which the library copies with what it imports."""
    if bf16:
        model = model.to(torch.bfloat16)
    with code_goes_along(model):
        model.save_pretrained(folder)
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
