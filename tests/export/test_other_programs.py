"""An exported graph as other programs read it: the names that they look for, and text from onnxruntime-genai."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import Case
from small_checkpoints import CONTEXT, model_of, tokenizer, tokens

pytest.importorskip("onnxruntime")
from smallgpt.export import onnx_graph
from smallgpt.export.genai import genai_config
from smallgpt.export.graph_inputs import cache_inputs
from smallgpt.export.quantize import quantize_graph
from smallgpt.export.verify_onnx import greedy_of_engine
from smallgpt.inference.onnx_engine import GRAPH, OnnxEngine
from smallgpt.settings import Generation

GREEDY = Generation(temperature=0, max_new_tokens=16)
CASES = [Case("gpt", "gpt2", {"n_layer": 1}), pytest.param(Case("gpt", "modern"), marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=CASES, ids=str)
def exported(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    onnx_graph.write_onnx_folder(model_of(request.param), tokenizer(), folder)
    return folder


def test_inputs_and_outputs_have_the_usual_names(exported: Path):
    engine = OnnxEngine(exported, threads=1)
    inputs, outputs = (
        [each.name for each in values] for values in (engine.session.get_inputs(), engine.session.get_outputs())
    )
    layers = range(engine.config["n_layer"])
    pairs = [f"{i}.{kind}" for i in layers for kind in ("key", "value")]
    assert inputs == ["input_ids", "attention_mask", "position_ids", *(f"past_key_values.{name}" for name in pairs)]
    assert outputs == ["logits", *(f"present.{name}" for name in pairs)]


def test_logits_are_those_of_all_tokens_where_nobody_says_which(exported: Path, tmp_path: Path):
    import onnxruntime

    quantized = tmp_path / GRAPH
    quantized.write_bytes((exported / GRAPH).read_bytes())
    quantize_graph(quantized, "int8_dynamic", large=False)
    engine, ids = OnnxEngine(exported, threads=1), np.array([tokens(7)])
    for path in (exported / GRAPH, quantized):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": np.arange(7)[None]}
        feed |= {each["past"]: empty for each, empty in zip(engine.cache_inputs, engine.empty_cache(1), strict=True)}
        whole = session.run(["logits"], feed)[0]
        places = np.arange(7)
        same = session.run(["logits"], feed | {"logits_to_keep": places})[0]
        assert whole.shape == (1, 7, engine.config["vocab_size"]) and np.array_equal(whole, same)


def test_a_graph_of_an_older_version_still_runs(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    import onnx

    def older(name: str) -> str:
        """`past_key_values.0.key` was `past_key.0`, and `present.0.key` was `present_key.0`."""
        first, *rest = name.split(".")
        return f"{first.partition('_')[0]}_{rest[1]}.{rest[0]}" if first in ("past_key_values", "present") else name

    expected = list(OnnxEngine(exported, threads=1).tokens([tokens(5)], GREEDY, seed=1))
    assert "older" not in capsys.readouterr().err
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    model = onnx.load(exported / GRAPH)
    for value in (*model.graph.input, *model.graph.output):
        value.name = older(value.name)
    for node in model.graph.node:
        node.input[:], node.output[:] = map(older, node.input), map(older, node.output)
    onnx.save(model, tmp_path / GRAPH)
    config = json.loads((exported / "config.json").read_text())
    del config["graph_version"]
    config["cache"] = [
        {**each, "past": older(each["past"]), "present": older(each["present"])} for each in config["cache"]
    ]
    assert config["cache"][1]["past"] == "past_value.0"
    (tmp_path / "config.json").write_text(json.dumps(config))
    engine = OnnxEngine(tmp_path, threads=1)
    assert "inputs have the names of an older version" in capsys.readouterr().err
    assert list(engine.tokens([tokens(5)], GREEDY, seed=1)) == expected


def test_onnxruntime_genai_writes_the_same_text(exported: Path):
    genai = pytest.importorskip("onnxruntime_genai")
    prompt, engine, new = "def main", OnnxEngine(exported, threads=1), 16
    model = genai.Model(str(exported))
    words = genai.Tokenizer(model)
    ids = [int(token) for token in words.encode(prompt)]
    assert ids == tokenizer().encode(prompt) and words.decode(np.array(ids, np.int32)) == prompt
    options = genai.GeneratorParams(model)
    options.set_search_options(max_length=len(ids) + new, do_sample=False)
    generator = genai.Generator(model, options)
    generator.append_tokens(np.array(ids, np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    made = [int(token) for token in generator.get_sequence(0)]
    assert made == greedy_of_engine(engine, ids, len(made) - len(ids)) and len(made) > len(ids)
    assert len(made) == len(ids) + new or made[-1] == engine.end


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (Case("convgpt", "gpt2", {"kernel_size": 3}), "keeps more than keys and values"),
        (Case("lineargpt", "gpt2", {"head_policy": "count"}), "has heads of several widths"),
    ],
    ids=str,
)
def test_what_onnxruntime_genai_cannot_run_has_no_config_of_its(case: Case, reason: str):
    config = model_of(case).config
    assert genai_config(config, 0) is None, reason
    shapes = {each.past for each in cache_inputs(config)}
    assert config.block_size == CONTEXT and "past_key_values.0.key" in shapes
