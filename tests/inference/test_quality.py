"""Bits per byte of what a benchmark times: of which text, of which weights, and where it ends up."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from command_line import CommandLine
from helpers import Case, build_model
from small_checkpoints import save_checkpoint
from transformers import AutoTokenizer

from smallgpt.data.prepared_data import open_prepared
from smallgpt.evaluation.held_out import HeldOut, of_runs
from smallgpt.inference import checkpoint

QUICK = (
    *("task=benchmark", "trainer.threads=1", "benchmark.rounds=1", "benchmark.prompts=[4]", "benchmark.batches=[1]"),
    *("benchmark.new_tokens=4", "benchmark.profile=false"),
)
TEXTS = [f"Once upon a time there were {number} naïve mice. " * 3 for number in range(9)]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def cache(cli: CommandLine, kept: Path) -> Path:
    """Prepared data, of other text than that of the checkpoints' tests: made once."""
    if not (kept / "cache").exists():
        lines = [json.dumps({"text": f"Line {i} of a naïve text.  Yes , no ."}) for i in range(400)]
        Path("text.jsonl").write_text("\n".join(lines))
        words = ("data=files", "data.path=text.jsonl", "data.holdout=0.2", "tokenizer.vocab_size=300")
        done = cli("task=prepare", *words, f"cache_dir={kept / 'cache'}", "hydra.run.dir=prepare")
        assert done.code == 0, done.err
        (kept / "fingerprint").write_text(done.result["data_fingerprint"])
    shutil.copytree(kept / "cache", cli.folder / "cache")
    return cli.folder / "cache"


def run_of(kept: Path, cache: Path, name: str, case: Case, fingerprint: str | None = None) -> Path:
    """A run directory with a model of random weights, as training on the prepared data leaves it."""
    (index,) = cache.glob("prepared/*/index.json")
    best = Path(name, "checkpoints", "best")
    build_model(case, vocab_size=320).save_pretrained(best)
    AutoTokenizer.from_pretrained(index.parent / "tokenizer").save_pretrained(best)
    fingerprint = fingerprint or (kept / "fingerprint").read_text()
    result = {"task": "train", "status": "completed", "variant": case.variant, "data_fingerprint": fingerprint}
    Path(name, "result.json").write_text(json.dumps(result))
    return Path(name)


def test_held_out_documents_come_back_as_they_were(cli: CommandLine, kept: Path, cache: Path) -> None:
    run = run_of(kept, cache, "run", Case("gpt"))
    (index,) = cache.glob("prepared/*/index.json")
    prepared = open_prepared(index.parent)
    text = of_runs([str(run)], cache, None)
    assert isinstance(text, HeldOut) and len(text.documents) == prepared.validation_documents > 50
    assert sum(len(document.encode()) for document in text.documents) == prepared.validation_bytes
    assert all(
        document.startswith("Line ") and document.endswith(" naïve text.  Yes , no .") for document in text.documents
    )
    part = of_runs([str(run)], cache, 200)
    assert isinstance(part, HeldOut) and part.documents == text.documents[: prepared.held_out(200)[0]]


def test_a_run_is_measured_on_what_it_held_out(cli: CommandLine, kept: Path, cache: Path) -> None:
    run = run_of(kept, cache, "run", Case("lineargpt"))
    done = cli(*QUICK, f"checkpoint={run}", "quantize=int8_dynamic", "validation.final_tokens=600")
    assert done.code == 0, done.err
    assert "bits per byte of text, held out" in done.out
    assert done.result["variant"] == "lineargpt"
    kept_by_run = json.loads((run / "result.json").read_text())["inference"]
    own, quantized = kept_by_run["text"], kept_by_run["kinds"]["int8_dynamic"]["text"]
    assert done.result["inference"]["text"] == quantized
    assert own["name"] == quantized["name"] == "text, held out" and own["n"] == quantized["n"] > 5
    assert own["difference"] is None
    gap = quantized["difference"]
    assert gap["difference"] == pytest.approx(quantized["bits_per_byte"] - own["bits_per_byte"])
    assert gap["difference"] != 0 and gap["interval"][0] < gap["interval"][1]
    assert (gap["over"], gap["from_unquantized"]) == ("run unquantized", True)
    low, high = own["bits_per_byte_interval"]
    assert low < own["bits_per_byte"] < high


@pytest.mark.slow
def test_a_graph_is_measured_beside_the_run_it_came_from(cli: CommandLine, kept: Path, cache: Path) -> None:
    pytest.importorskip("onnxruntime")
    run = run_of(kept, cache, "run", Case("lineargpt", "gpt2", {"n_layer": 2}))
    words = ("task=export", f"checkpoint={run}", "format=onnx", "quantize=int4", "hydra.run.dir=graph")
    assert cli(*words).code == 0
    done = cli(*QUICK, f"checkpoint=[{run},graph]", "validation.final_tokens=600")
    assert done.code == 0, done.err
    kept_by_run = json.loads((run / "result.json").read_text())["inference"]
    graph = kept_by_run["kinds"]["onnx int4"]
    assert kept_by_run["engine"] == "torch" and (graph["engine"], graph["quantize"]) == ("onnx", "int4")
    assert graph["text"]["n"] == kept_by_run["text"]["n"]
    assert graph["text"]["difference"]["from_unquantized"] and graph["breakdown"] is None
    assert graph["weight_bytes"] < kept_by_run["weight_bytes"] and graph["speed_up"]["over"] == "run"

    # however it is written; from a quantized graph it is no difference to the unquantized model
    done = cli(*QUICK, f"checkpoint=[graph,{run.resolve()}/]", "validation.final_tokens=600", "hydra.run.dir=turned")
    assert done.code == 0, done.err
    kept_by_run = json.loads((run / "result.json").read_text())["inference"]
    assert kept_by_run["text"]["difference"]["from_unquantized"] is False
    assert cli.refused(*QUICK, f"checkpoint=[{run},{run}/]").endswith("one is there twice")
    refused = cli.refused(*QUICK, "checkpoint=graph", "model=lineargpt", "model.n_layer=2")
    assert refused == "model.n_layer=2: an ONNX folder runs as it was exported; leave it out"


@pytest.mark.slow
def test_a_graph_that_runs_otherwise_stands_for_itself(cli: CommandLine, kept: Path, cache: Path) -> None:
    pytest.importorskip("onnxruntime")
    run = run_of(kept, cache, "run", Case("parallelgpt", "gpt2", {"n_layer": 2}))
    words = ("task=export", f"checkpoint={run}", "format=onnx", "model=parallelgpt")
    assert cli(*words, "model.active_paths=[1]", "hydra.run.dir=one_path").code == 0
    assert cli(*words, "hydra.run.dir=all_paths").code == 0
    names = [checkpoint.run_of(name) for name in ("one_path", "all_paths", "all_paths/onnx", str(run))]
    assert names == [str(Path("one_path").resolve()), *[str(run.resolve())] * 3]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ("run/checkpoints/best", "not every checkpoint is the directory of a run"),
        ("elsewhere", "the runs were trained on different data"),
    ],
)
def test_where_there_is_no_common_text_there_are_no_bits(
    cli: CommandLine, kept: Path, cache: Path, other: str, says: str
) -> None:
    run = run_of(kept, cache, "run", Case("gpt"))
    run_of(kept, cache, "elsewhere", Case("gpt"), "ffff")
    done = cli(*QUICK, f"checkpoint=[{run},{other}]")
    assert done.code == 0 and f"No bits per byte: {says}" in done.out
    assert all("text" not in section for section in done.result["inferences"].values())
    shutil.rmtree(cache)
    assert of_runs([str(run)], cache, None) == f"the prepared data of the runs is not in cache_dir={cache}"


@pytest.mark.slow
def test_a_text_of_ones_own_for_any_checkpoint(cli: CommandLine) -> None:
    for name, case in (("a", Case("gpt")), ("b", Case("lineargpt", "modern"))):
        save_checkpoint(case, Path(name))
    Path("books.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    done = cli(*QUICK, "checkpoint=[a,b]", "quantize=bf16", "eval=own", "eval.corpora=books.jsonl", "eval.limit=7")
    assert done.code == 0, done.err
    a, b = (done.result["inferences"][name]["text"] for name in "ab")
    assert (a["name"], a["n"], a["bytes"]) == ("books.jsonl", 7, sum(len(text.encode()) for text in TEXTS[:7]))
    gap = b["difference"]
    assert gap["difference"] == pytest.approx(b["bits_per_byte"] - a["bits_per_byte"])
    assert (gap["over"], gap["from_unquantized"], gap["n"]) == ("a", False, 7)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["eval=quick"], "eval.tasks: task=benchmark measures bits per byte alone"),
        (["eval=own", "eval.path=quiz.jsonl"], "eval.path: task=benchmark"),
        (["eval=own", "eval.corpora=[a.txt,b.txt]"], "eval.corpora=['a.txt', 'b.txt']: task=benchmark reads one text"),
        (["eval=own", "eval.corpora=a.txt"], "eval.corpora=a.txt: no such file"),
        (
            ["eval=own", "eval.corpora=a.txt", "eval.precision=bf16"],
            "eval.precision=bf16: task=benchmark takes quantize",
        ),
        (["eval=own", "eval.corpora=a.txt", "checkpoint=null"], "eval: without checkpoint="),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_a_benchmark_does_not_read(cli: CommandLine, words: list[str], says: str) -> None:
    save_checkpoint(Case("gpt"), Path("model"))
    given = [word for word in ("checkpoint=model",) if "checkpoint=null" not in words]
    assert cli.refused(*QUICK, *given, *words).startswith(says)


@pytest.mark.slow
def test_a_sweep_of_kinds_ends_in_their_table(cli: CommandLine, kept: Path, cache: Path) -> None:
    run = run_of(kept, cache, "run", Case("lineargpt"))
    words = (f"checkpoint={run}", "quantize=none,bf16", "hydra.sweep.dir=sweep", "hydra/launcher=basic")
    done = cli("-m", *QUICK, *words)
    assert done.code == 0, done.err
    assert "bits per byte" in done.out and "less unquantized" in done.out
    with Path("sweep/results.csv").open() as file:
        plain, bf16 = csv.DictReader(file)
    assert plain["variant"] == "lineargpt" and plain["inference/difference"] == ""
    assert float(plain["inference/weight_bytes"]) > 1.9 * float(bf16["inference/weight_bytes"])
    gap = float(bf16["inference/bits_per_byte"]) - float(plain["inference/bits_per_byte"])
    assert float(bf16["inference/difference"]) == pytest.approx(gap, abs=1e-9)
    assert float(bf16["inference/difference_low"]) <= gap <= float(bf16["inference/difference_high"])
    assert "<h2>Inference</h2>" in Path("sweep/report.html").read_text()
