"""Answers of an exported graph: the labels that its model finds likeliest, texts of its own, in little memory."""

from pathlib import Path

import pytest
import torch
from helpers import Case
from small_checkpoints import CONTEXT, model_of, tokenizer, tokens

pytest.importorskip("onnxruntime")
from smallgpt.evaluation.continuations import continuations_of_graph
from smallgpt.evaluation.onnx_model import GraphModel
from smallgpt.export.onnx_graph import write_onnx_folder
from smallgpt.finetuning.answers import option_probabilities
from smallgpt.inference.onnx_engine import OnnxEngine
from smallgpt.settings import Generation
from smallgpt.speed.resident_memory import resident_memory


def test_a_graph_says_the_labels_of_its_model_in_a_process_without_pytorch(tmp_path: Path) -> None:
    model = model_of(Case("gpt", "modern", {"n_layer": 2}))
    write_onnx_folder(model, tokenizer(), tmp_path)
    engine = OnnxEngine(tmp_path, threads=1)
    prompts, labels = [tokens(length, length) for length in (5, 30, CONTEXT - 4)], [tokens(3, 1), tokens(2, 2)]
    found = option_probabilities(GraphModel(engine), prompts, labels, CONTEXT)
    torch.testing.assert_close(found, option_probabilities(model, prompts, labels, CONTEXT), atol=1e-4, rtol=1e-3)
    settings = Generation(max_new_tokens=6, temperature=1.0)
    written = continuations_of_graph(engine, ["once", "a cat"], 3, settings, seed=1)
    assert [len(texts) for texts in written] == [3, 3] and len(set(written[0])) > 1
    assert not any(
        text.startswith(prompt) for prompt, texts in zip(["once", "a cat"], written, strict=True) for text in texts
    )
    assert written == continuations_of_graph(engine, ["once", "a cat"], 3, settings, seed=1)
    taken = resident_memory(str(tmp_path), prompt=20, batch=2, new_tokens=3, threads=1)
    assert taken["engine"] == "onnx" and taken["torch_imported"] is False and 2e7 < taken["bytes"] < 4e8


@pytest.mark.slow
def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    taken = resident_memory(str(tmp_path), prompt=20, batch=1, new_tokens=2)
    assert taken["bytes"] is None and "no model here" in taken["error"]
