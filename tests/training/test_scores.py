"""One model has one score: in the curve, in the result, in task=evaluate and task=benchmark, for every micro-batch."""

import csv
import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from smallgpt.data.prepared_data import open_prepared
from smallgpt.evaluation.measures import text_score
from smallgpt.evaluation.text_likelihood import Reader
from smallgpt.inference.checkpoint import load_checkpoint
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
    assert "test" not in result, "the corpus has no such split"
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
    asked = run_task(evaluate.run, tmp_path / "asked", *words)["evaluation"]["corpora"]["held_out.jsonl"]
    quick = ("benchmark.rounds=1", "benchmark.batches=[1]", "benchmark.prompts=[4]", "benchmark.new_tokens=2")
    words = (f"checkpoint={run}", "benchmark.profile=false", *quick)
    timed = run_task(benchmark.run, tmp_path / "timed", *words)["inference"]
    for found in (asked, timed["text"]):
        assert found["bits_per_byte"] == pytest.approx(trained["val"]["bits_per_byte"], rel=CLOSE)
        assert found["bytes"] == trained["val"]["bytes"] and found["n"] == trained["val"]["documents"]
    assert asked["checkpoint"] == timed["checkpoint"] == "best, step 8"


def test_validation_chooses_and_the_test_split_reports(run_task, tmp_path):
    def lines(*numbers: int) -> str:
        return "\n".join(f"line {n * line % 97} of document {n}" for n in numbers for line in range(20))

    text = tmp_path / "text"
    for name, numbers in (("train", range(30)), ("validation", range(30, 36)), ("test", range(36, 58))):
        (text / name).mkdir(parents=True)
        for number in numbers:
            (text / name / f"{number}.txt").write_text(lines(number))
    # a rate at which the loss has risen again by the end
    words = (f"data.path={text}", "budget.tokens=16384", "optimizer.lr=1e-1", "schedule=constant")
    result = run_task(train.run, tmp_path / "run", *words, "trainer.precision=fp32", "validation.tokens=null")
    test, val, best = (result[key] for key in ("test", "val", "best"))
    assert (test["checkpoint"], test["step"]) == ("best", best["step"])
    assert val["step"] == 32 != best["step"], "the last is the best, or this shows nothing"
    assert (test["documents"], val["documents"]) == (22, 6)
    low, high = test["bits_per_byte_interval"]
    assert low < test["bits_per_byte"] < high and val["bits_per_byte_interval"] is None

    index = next(Path(result["data"]["directory"]).glob("index.json"))
    documents = open_prepared(index.parent).held_out_documents(split="test")
    model, tokenizer = load_checkpoint(str(tmp_path / "run"))
    records = Reader(model, tokenizer).likelihood_of_texts([tokenizer.decode(ids) for ids, _ in documents])
    assert text_score(records)["bits_per_byte"] == pytest.approx(test["bits_per_byte"], rel=CLOSE)
