"""A model folder is read with the tokenizer that belongs to it, or not at all."""

import json

import pytest
from helpers import Case
from small_checkpoints import CONTEXT, save_checkpoint

from smallgpt.errors import UserError
from smallgpt.inference.checkpoint import load_checkpoint
from smallgpt.model_folder import write_context_length


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    folder = save_checkpoint(Case("gpt"), tmp_path / "model")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(UserError, match=r"^checkpoint=.*: (the tokenizer|tokenizer\.json) cannot be loaded"):
        load_checkpoint(str(folder))


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path):
    folder = save_checkpoint(Case("gpt"), tmp_path / "model", vocab_size=128)
    with pytest.raises(UserError, match=r"its tokenizer has 257 tokens and its model 128; copy the model's own"):
        load_checkpoint(str(folder))


def test_the_tokenizers_longest_text_is_the_models_context(tmp_path):
    folder = save_checkpoint(Case("gpt"), tmp_path / "model")
    write_context_length(folder, CONTEXT)
    assert json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"] == CONTEXT
    assert load_checkpoint(str(folder))[1].model_max_length == CONTEXT
