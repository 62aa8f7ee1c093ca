"""Export to a folder that `from_pretrained(..., trust_remote_code=True)` of transformers loads without smallgpt."""

from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from smallgpt.model_folder import write_context_length, write_model
from smallgpt.models.decoder import Decoder
from smallgpt.models.sequence_classifier import SequenceClassifier


def write_hf_folder(
    model: Decoder | SequenceClassifier, tokenizer: PreTrainedTokenizerBase, folder: Path, bf16: bool
) -> None:
    """Writes weights, config, tokenizer and the model's own code with what it imports."""
    write_model(model.to(torch.bfloat16) if bf16 else model, folder)
    tokenizer.save_pretrained(folder)
    write_context_length(folder, model.config.block_size)
