"""Bits per byte of an exported graph: what the model has, and in fewer bits nearly that."""

from pathlib import Path

import pytest
from helpers import Case
from small_checkpoints import CONTEXT, model_of, tokenizer

pytest.importorskip("onnxruntime")
from smallgpt.evaluation.measures import text_score
from smallgpt.evaluation.onnx_model import reader_of
from smallgpt.evaluation.text_likelihood import Reader
from smallgpt.export import onnx_graph
from smallgpt.export.quantize import quantize_graph
from smallgpt.inference.onnx_engine import GRAPH, OnnxEngine

TEXTS = ["Once upon a time, ", "naïve café", "x" * (2 * CONTEXT + 7), "y", "One fine day. " * 14]


@pytest.mark.slow
def test_a_graph_finds_texts_as_likely_as_its_model(tmp_path: Path) -> None:
    model = model_of(Case("convgpt", "gpt2", {"n_layer": 2, "kernel_size": 3}))
    expected = Reader(model, tokenizer()).likelihood_of_texts(TEXTS)
    onnx_graph.write_onnx_folder(model, tokenizer(), tmp_path)
    found = reader_of(OnnxEngine(tmp_path, threads=1)).likelihood_of_texts(TEXTS)
    assert [text.loglikelihood for text in found] == pytest.approx([text.loglikelihood for text in expected], rel=1e-4)
    assert [(text.bytes, text.tokens) for text in found] == [(text.bytes, text.tokens) for text in expected]
    quantize_graph(tmp_path / GRAPH, "int4", large=False)
    rough = text_score(reader_of(OnnxEngine(tmp_path, threads=1)).likelihood_of_texts(TEXTS))["bits_per_byte"]
    exact = text_score(expected)["bits_per_byte"]
    assert rough != exact and rough == pytest.approx(exact, rel=0.1)
