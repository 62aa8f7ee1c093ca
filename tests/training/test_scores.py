"""One model has one score: in the curve, in the result, in task=evaluate and task=benchmark, for every micro-batch."""

import csv
import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from smallgpt.data.prepare import open_prepared
from smallgpt.tasks import benchmark, evaluate, train

ALL = ("validation.tokens=null", "trainer.precision=fp32", "budget.tokens=4096", "optimizer.lr=1e-2")
CLOSE = 2e-6


def curve(run_dir: Path) -> dict[str, float]:
    """The last validation in metrics.csv."""
    with (run_dir / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/loss"]]
    return {key: float(value) for key, value in rows[-1].items() if value}


@pytest.mark.parametrize("micro", [1, 2, 8])
def test_the_curve_ends_in_the_score_of_the_result(run_task, tmp_path, micro):
    result = run_task(train.run, tmp_path, *ALL, f"batch.micro={micro}")
    val, last = result["val"], curve(tmp_path)
    assert last["val/bits_per_byte"] == pytest.approx(val["bits_per_byte"], rel=CLOSE)
    assert last["val/loss"] == pytest.approx(val["loss"], rel=CLOSE)
    assert last["val/perplexity"] == pytest.approx(val["perplexity"], rel=1e-5)
    assert (val["checkpoint"], val["step"], val["precision"]) == ("last", 8, "fp32")
    assert result["best"]["val_loss"] <= last["val/loss"] and result["best"]["checkpoint"] == "best"


def test_evaluate_and_benchmark_read_the_same_documents_alike(run_task, tmp_path, tmp_path_factory):
    pytest.importorskip("lm_eval")
    run = tmp_path / "run"
    trained = run_task(train.run, run, *ALL)
    assert trained["best"]["step"] == trained["val"]["step"], "the last is the best, or this compares two models"
    (run / "result.json").write_text(json.dumps({"task": "train", "variant": "gpt", **trained}))

    index, *_ = tmp_path_factory.getbasetemp().rglob(f"prepared/*{trained['data_fingerprint']}/index.json")
    prepared = open_prepared(index.parent)
    tokenizer = AutoTokenizer.from_pretrained(prepared.tokenizer_dir)
    texts = [tokenizer.decode(ids) for ids, _ in prepared.held_out_documents()]
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text("".join(json.dumps({"text": text}) + "\n" for text in reversed(texts)))

    words = ("eval=own", f"eval.corpora={held_out}", f"checkpoint={run}")
    asked = run_task(evaluate.run, tmp_path / "asked", "task=evaluate", *words)["evaluation"]["corpora"][
        "held_out.jsonl"
    ]
    quick = ("benchmark.rounds=1", "benchmark.batches=[1]", "benchmark.prompts=[4]", "benchmark.new_tokens=2")
    words = ("task=benchmark", f"checkpoint={run}", "benchmark.profile=false", *quick)
    timed = run_task(benchmark.run, tmp_path / "timed", *words)["inference"]
    for found in (asked, timed["text"]):
        assert found["bits_per_byte"] == pytest.approx(trained["val"]["bits_per_byte"], rel=CLOSE)
        assert found["bytes"] == trained["val"]["bytes"] and found["n"] == trained["val"]["documents"]
    assert asked["checkpoint"] == timed["checkpoint"] == "best, step 8"
