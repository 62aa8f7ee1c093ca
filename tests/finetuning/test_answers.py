"""Answers that a model writes: batch after batch, on the same forward passes, which a GPU records once a shape."""

import pytest
import torch

from smallgpt.data.tokenizers import TrainedBPE
from smallgpt.finetuning import answers
from smallgpt.finetuning.answers import written_answers
from smallgpt.inference import decoding
from smallgpt.models.gpt import GPT, GPTConfig


def test_answers_are_the_same_in_batches_and_one_by_one(monkeypatch: pytest.MonkeyPatch):
    tokenizer = TrainedBPE(vocab_size=280).build(["The nurse said that she was late. " * 20])
    torch.manual_seed(0)
    shape = {"n_layer": 1, "n_head": 2, "n_embd": 32, "block_size": 32}
    model = GPT(GPTConfig(vocab_size=320, bos_token_id=None, eos_token_id=tokenizer.eos_token_id, **shape)).train()
    torch.nn.init.normal_(model.get_input_embeddings().weight)
    prompts = [[7], [9, 8, 7], [70, 71], [99, 98, 97, 96]]
    whole = [written_answers(model, tokenizer, [prompt], 6)[0] for prompt in prompts]
    assert len(set(whole)) > 1 and model.training
    monkeypatch.setattr(answers, "BATCH", 3)
    monkeypatch.setattr(decoding, "decoding_steps", None)  # a batch that made its own would record a graph of its own
    assert written_answers(model, tokenizer, prompts, 6) == whole
