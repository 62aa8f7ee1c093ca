"""format=onnx: one graph that does what the model does, and the engine that reads it."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Case
from small_checkpoints import CONTEXT, EXPORTED, model_of, save_checkpoint, tokenizer, tokens
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from smallgpt.errors import UserError
from smallgpt.export import onnx_graph, verify_onnx
from smallgpt.export.quantize import quantize_graph
from smallgpt.inference.generate import generate
from smallgpt.inference.onnx_engine import OnnxEngine, shares
from smallgpt.machine import control_groups
from smallgpt.notices import printable
from smallgpt.settings import Generation
from smallgpt.speed.measured_models import MeasuredGraph, MeasuredModel
from smallgpt.speed.roofline import Work, demand

TWO_BLOCKS = {"n_layer": 2, "downsample_position": 1, "downsample_frequency": 1}
FAST = Case("convgpt", "modern", {"kernel_size": 4, **TWO_BLOCKS})
ONE_PATH = Case("parallelgpt", "gpt2", {"n_layer": 2, "active_paths": [1]})
CASES = [FAST, *(pytest.param(case, marks=pytest.mark.slow) for case in (ONE_PATH, *EXPORTED))]
GREEDY = Generation(temperature=0, max_new_tokens=64)


@pytest.fixture(scope="module", params=CASES, ids=str)
def exported(request, tmp_path_factory):
    """A model and its folder."""
    folder = tmp_path_factory.mktemp("onnx")
    model = model_of(request.param)
    onnx_graph.write_onnx_folder(model, tokenizer(), folder)
    return model, folder


def test_logits_and_greedy_tokens_are_the_models(exported):
    model, folder = exported
    assert model.config.block_size == CONTEXT  # room for 64 tokens
    found = verify_onnx.verify_onnx(model, folder, exact=True)
    assert found["relative_logit_difference"] < 1e-4
    assert found["same_greedy_text"] and found["equal_greedy_tokens"] == 1


def test_a_padded_batch_gives_what_each_prompt_gives_alone(exported):
    model, folder = exported
    engine = OnnxEngine(folder, threads=1)
    prompts = [tokens(3, seed=1), tokens(11, seed=2), tokens(CONTEXT - 5, seed=3)]
    for settings in (GREEDY, Generation(temperature=1, max_new_tokens=9)):
        together = list(zip(*engine.tokens(prompts, settings, seed=5), strict=True))
        for row, prompt in enumerate(prompts):
            row_alone = list(engine.tokens([prompt], settings, seed=5))
            if settings is GREEDY:
                alone = [token for (token,) in row_alone]
                assert [token for token in together[row] if token is not None] == alone
                with torch.inference_mode():
                    text = model(torch.tensor([prompt + alone])).logits[0, len(prompt) - 1 : -1, :257].argmax(-1)
                assert text.tolist() == alone
    assert sum(token is not None for token in together[2]) <= 5


def test_text_is_that_of_the_checkpoint(exported):
    model, folder = exported
    engine = OnnxEngine(folder, threads=1)
    for prompt in ("def main", "", "größer", "a <|endoftext|> b"):
        pieces = [piece for (piece,) in engine.generate([prompt], GREEDY, seed=1)]
        assert "".join(pieces) == generate(model, tokenizer(), [prompt], GREEDY, seed=1)[0]
    sampled = [
        "".join(piece for (piece,) in engine.generate(["x"], Generation(temperature=1), seed)) for seed in (1, 1, 2)
    ]
    assert sampled[0] == sampled[1] != sampled[2]


def test_logits_are_made_where_they_are_wanted(exported):
    engine = OnnxEngine(exported[1], threads=1)
    ids, mask = np.array([tokens(7, seed=1), tokens(7, seed=2)]), np.ones((2, 7), np.int64)
    whole_BTV, _ = engine.forward(ids, mask, engine.empty_cache(2))
    some_BNV, _ = engine.forward(ids, mask, engine.empty_cache(2), keep=[6, 2])
    np.testing.assert_allclose(some_BNV, whole_BTV[:, [6, 2]], rtol=1e-4, atol=1e-5)


def test_a_folder_can_be_measured_beside_its_model(exported):
    model, folder = exported
    onnx_graph.describe_weights(folder, "none")
    graph, packed = MeasuredGraph("graph", folder, 1), MeasuredModel("model", copy.deepcopy(model))
    assert graph.quantize == "none" and type(graph.config) is type(model.config)
    numbers = 1000  # bytes of what else the graph holds, or holds but once
    assert abs(graph.read_bytes - packed.read_bytes) < numbers
    assert graph.read_bytes <= graph.weight_bytes <= packed.weight_bytes + numbers
    work = Work("decode", 4, 6, 2)
    graph_needs, model_needs = (demand(each, work, 0) for each in (graph, packed))
    assert graph_needs == model_needs
    times = graph.token_times(work)
    assert len(times) == 6 and times == sorted(times)


def test_a_graph_that_differs_is_refused(exported):
    model, folder = exported
    weight = model.lm_head.weight
    with torch.no_grad():
        weight *= 1.01
    try:
        with pytest.raises(UserError, match=r"^format=onnx: the graph's logits differ by") as error:
            verify_onnx.verify_onnx(model, folder, exact=True)
    finally:
        with torch.no_grad():
            weight /= 1.01
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["int8_dynamic", "int4"])
def test_quantized_graphs_are_smaller_and_near(exported, tmp_path, kind):
    model, folder = exported
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    quantize_graph(tmp_path / "model.onnx", kind, large=False)
    assert (tmp_path / "model.onnx").stat().st_size < 0.85 * (folder / "model.onnx").stat().st_size
    found = verify_onnx.verify_onnx(model, tmp_path, exact=False)
    # of random weights: up to 0.14, by the processor; eight bits that overflow where there is no VNNI differ by 0.3
    assert found["relative_logit_difference"] < (0.2 if kind == "int8_dynamic" else 1.5)
    assert found["equal_greedy_tokens"] > (0.8 if kind == "int8_dynamic" else 0.3)


def test_the_folder_and_the_engine_need_no_pytorch(exported, tmp_path):
    model, folder = exported
    settings = Generation(temperature=0, max_new_tokens=20)
    (expected,) = generate(model, tokenizer(), ["A <|endoftext|> b"], settings, seed=1)
    script = str(folder / "generate.py")
    assert without("torch", "transformers", "smallgpt", code=SCRIPT, words=[script], folder=tmp_path) == expected
    assert without("torch", "transformers", code=ENGINE, words=[str(folder)], folder=tmp_path) == expected
    printed = without("torch", "smallgpt", code=AS_A_PROGRAM, words=[script, "A <|endoftext|> b"], folder=tmp_path)
    assert printed.startswith("A <|endoftext|> b")


SCRIPT = """
generate = runpy.run_path(sys.argv[1])["generate"]
print("A <|endoftext|> b" + "".join(generate("A <|endoftext|> b", 20, 0)), end="")
"""
ENGINE = """
from pathlib import Path
from smallgpt.inference.onnx_engine import OnnxEngine
from smallgpt.settings import Generation
settings = Generation(temperature=0, max_new_tokens=20)
for (piece,) in OnnxEngine(Path(sys.argv[1])).generate(["A <|endoftext|> b"], settings, 1):
    print(piece, end="")
"""
AS_A_PROGRAM = """
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def without(*names: str, code: str, words: list[str], folder: Path) -> str:
    """What code prints in a process where importing `names` fails."""
    code = f"import sys, runpy; sys.modules.update(dict.fromkeys({names}))\n{code}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONIOENCODING": "utf-8"}
    for variable in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"):  # this process has set it, the user has not
        environment.pop(variable, None)
    home = folder / "home"
    home.mkdir(exist_ok=True)
    environment |= {"HOME": str(home), "TMPDIR": str(home)}
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=folder, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert not list(home.iterdir()), "ONNX Runtime keeps what it reports, and an identity of the machine, in the home"
    return done.stdout.decode()  # as bytes until here: text mode makes the \r of an untrained model a \n


def test_nothing_of_this_machine_is_in_the_folder(exported):
    _, folder = exported
    for path in folder.iterdir():
        assert b"site-packages" not in path.read_bytes() and b"/smallgpt/" not in path.read_bytes()
    entries = json.loads((folder / "config.json").read_text())["cache"]
    assert {tuple(entry) for entry in entries} == {("past", "present", "shape")}


@pytest.mark.parametrize("settings", [{"top_k": 5}, {"top_p": 0.6}, {"top_k": 9, "top_p": 0.3}, {"top_p": 1e-6}, {}])
def test_sampling_is_the_librarys(settings):
    generation = Generation(temperature=0.7, **settings)
    logits = np.random.default_rng(0).normal(size=50).astype(np.float32) * 3
    scores = TemperatureLogitsWarper(0.7)(None, torch.tensor(logits)[None])
    if generation.top_k:
        scores = TopKLogitsWarper(generation.top_k)(None, scores)
    if generation.top_p:
        scores = TopPLogitsWarper(generation.top_p)(None, scores)
    np.testing.assert_allclose(shares(logits, generation), scores.softmax(-1)[0].numpy(), atol=1e-6)


def test_the_task_and_what_it_refuses(cli, monkeypatch):
    save_checkpoint(ONE_PATH, cli.folder / "model")
    done = cli("task=export", "checkpoint=model", "format=onnx", "quantize=int8_dynamic", "hydra.run.dir=out")
    assert done.code == 0, done.err
    section = done.result["export"]
    assert section["quantize"] == "int8_dynamic" and 0.8 < section["equal_greedy_tokens"] <= 1
    assert {path.name for path in (cli.folder / "out").iterdir()} == {"onnx", "config.yaml", "result.json"}

    words = ("task=generate", "checkpoint=out", "generation.max_new_tokens=5")
    done = cli(*words, "prompt=ab", "hydra.run.dir=text")
    assert done.code == 0 and done.result["samples"][0].startswith("ab"), done.err
    assert done.out.startswith(printable(done.result["samples"][0]))
    assert cli(*words, "hydra.run.dir=empty").code == 0

    assert cli.refused(*words, f"prompt={'x' * CONTEXT}") == f"prompt: {CONTEXT} tokens; the model's context has " + (
        f"{CONTEXT}, so use at most {CONTEXT - 1}, or generation.window=true, which drops its beginning"
    )
    assert "generation.num_beams=2" in cli.refused(*words, "generation.num_beams=2")
    assert "quantize=int4: an ONNX folder is quantized by" in cli.refused(*words, "quantize=int4")
    assert "smallgpt-parallel" in cli.refused(*words, "model=gpt")
    asked = cli.refused(*words, "model=parallelgpt", "model.active_paths=[0]")
    assert asked == "model.active_paths=[0]: an ONNX folder runs as it was exported; leave it out"
    with monkeypatch.context() as small:
        small.setattr(control_groups, "SYSTEM", cli.folder / "system")
        (cli.folder / "system" / "proc").mkdir(parents=True)
        (cli.folder / "system" / "proc" / "meminfo").write_text("MemAvailable: 40 kB\n")
        too_many = cli.refused(*words, f"prompt={['ab'] * 9}")
        assert re.fullmatch(r"prompt: a batch of 9 needs .* at most 8 can fit", too_many)
    assert "an ONNX folder" in cli.refused("task=export", "checkpoint=out")
    (cli.folder / "out" / "onnx" / "model.onnx").write_bytes(b"no graph")
    assert "missing or damaged" in cli.refused(*words)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install 'smallgpt[export]'" in cli.refused(*words)
