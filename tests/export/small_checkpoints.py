"""Small models of every variant in the shape of a checkpoint, with a tokenizer of their own."""

from pathlib import Path

import torch
from helpers import CASES, Case, build_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

EXPORTED = [*CASES, Case("parallelgpt", "modern", {"active_paths": [1]})]
VOCABULARY, CONTEXT = 257, 96


def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes and the end of the text."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    end = dict.fromkeys(("eos_token", "pad_token", "bos_token"), "<|endoftext|>")
    return PreTrainedTokenizerFast(tokenizer_object=bytes_only, padding_side="left", **end)


def model_of(case: Case, **changes):
    """Weights far from their small initial values, so that an error in any part shows in the logits."""
    model = build_model(case, **{"vocab_size": 320, "block_size": CONTEXT} | changes)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = VOCABULARY - 1
    return model


def save_checkpoint(case: Case, folder: Path, **changes) -> Path:
    model_of(case, **changes).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def tokens(length: int, seed: int = 0) -> list[int]:
    return torch.randint(VOCABULARY - 1, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
