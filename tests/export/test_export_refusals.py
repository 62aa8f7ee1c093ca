"""What task=export cannot do: refused on one line, with nothing left."""

import sys

import pytest
from helpers import Case
from small_checkpoints import save_checkpoint, tokenizer
from transformers import GPT2Config, GPT2LMHeadModel


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["checkpoint=model", "format=onxx"], ["format=onxx", "hf, onnx", "did you mean 'onnx'?"]),
        (["checkpoint=model", "quantize=int3"], ["quantize=int3", "int4"]),
        (["checkpoint=model", "quantize=int4"], ["quantize=int4", "format=hf takes none, bf16"]),
        (["checkpoint=model", "quantize=int8_weight"], ["quantize=int8_weight", "none, bf16"]),
        (["checkpoint=model", "format=onnx", "quantize=bf16"], ["quantize=bf16", "none, int8_dynamic, int4"]),
        (["checkpoint=model", "format=onnx", "quantize=int8_weight"], ["quantize=int8_weight", "int8_dynamic, int4"]),
        ([], ["checkpoint=null", "task=export needs one"]),
        (["checkpoint=[model,other]"], ["checkpoint=['model', 'other']", "needs one"]),
        (["checkpoint=nowhere/at/all"], ["checkpoint=nowhere/at/all", "no such folder"]),
        (["checkpoint=modle"], ["checkpoint=modle: no such folder; did you mean 'model'?", "the hub"]),
        (["checkpoint=model", "model=lineargpt"], ["smallgpt-conv", "smallgpt-linear"]),
        (["checkpoint=other"], ["checkpoint=other: a gpt2 model", "transformers reads it as it is"]),
        (["checkpoint=other", "format=onnx"], ["checkpoint=other: a gpt2 model"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_exported(cli, words, parts):
    save_checkpoint(Case("convgpt"), cli.folder / "model")
    foreign = GPT2Config(n_layer=1, n_head=2, n_embd=32, vocab_size=300, n_positions=32)
    GPT2LMHeadModel(foreign).save_pretrained(cli.folder / "other")
    tokenizer().save_pretrained(cli.folder / "other")
    message = cli.refused("task=export", *words)
    for part in parts:
        assert part in message


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
def test_missing_packages(cli, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    message = cli.refused("task=export", "checkpoint=model", "format=onnx")
    assert message == f"format=onnx: {name} is not installed; `pip install 'smallgpt[export]'`"
