"""task=finetune on a tiny model: what it learns, what it leaves, and that it goes on as if never stopped."""

import csv
import json
from pathlib import Path

import pytest
import torch
from command_line import CommandLine
from safetensors.torch import load_file
from small_tickets import SMALL, TEMPLATE, tickets
from transformers import GPT2Config, GPT2LMHeadModel

from smallgpt.errors import UserError
from smallgpt.evaluation.own import read_own_task
from smallgpt.finetuning.adapted import read_adapted
from smallgpt.inference.checkpoint import load_checkpoint
from smallgpt.models.gpt import GPT, GPTConfig
from smallgpt.training.early_stopping import EarlyStopping
from smallgpt.training.metrics import Recorder


def weights(run_dir: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return load_file(run_dir / "checkpoints" / name / "model.safetensors")


def test_tickets_become_a_tested_classifier(run_finetune, tmp_path, checkpoint, capsys):
    result = run_finetune(tmp_path, checkpoint, "budget.epochs=6")
    test, majority = result["test"], result["baselines"]["majority"]
    assert test["accuracy"] > majority["accuracy"] and test["accuracy_interval"][0] < test["accuracy"]
    assert test["n"] == result["data"]["test_examples"] == majority["n"] == sum(map(sum, test["confusion"]))
    assert {"macro_f1", "matthews", "calibration_error", "loss"} <= test.keys() and result["val"]["n"] > 0
    assert result["baselines"]["2 shots"]["shots_that_fit"] <= 2 and result["baselines"]["0 shots"]["shots"] == 0
    bits = result["bits_per_byte"]["examples"]
    assert bits["before"] > 0 and bits["after"] != bits["before"]
    assert result["best"]["val_loss"] == pytest.approx(result["val"]["loss"], rel=1e-5)
    assert result["origin"]["checkpoint"] == str(checkpoint) and result["train"]["steps"] <= 6 * 150 // 16 + 1
    printed = capsys.readouterr().out
    assert "accuracy" in printed and "majority" in printed and "2 shots" in printed and "shots fit" in printed
    (split,) = tmp_path.glob("evaluation/finetune_test.jsonl")
    items = [json.loads(line) for line in split.read_text().splitlines()]
    assert len(items) == test["n"] and items[0]["place"].split(", line ")[1].isdecimal()
    right = [item["answer"] == item["prediction"] for item in items]
    assert sum(right) / len(right) == pytest.approx(test["accuracy"])
    asked = read_own_task(tmp_path / "evaluation" / "items_test.jsonl")
    assert asked.kind == "choice" and [row["choices"][row["answer"]] for row in asked.rows] == [
        item["answer"] for item in items
    ]
    # the folder is a model like any other, and has its head
    model, tokenizer = load_checkpoint(str(tmp_path))
    adapted = read_adapted(model, tmp_path / "checkpoints" / "best").eval()
    ids = tokenizer(items[0]["prompt"], return_tensors="pt")["input_ids"]
    assert adapted.labels[int(adapted.label_logits(ids).argmax())] == items[0]["prediction"]


@pytest.mark.parametrize(
    ("words", "learn"),
    [
        (["finetune=head"], 66),
        (["finetune=lora", "finetune.rank=2", "finetune.classifier=words"], None),
        (["finetune=path", "finetune.padding=left"], None),
        (["finetune=full", "finetune.classifier=words", "first_weights=random"], None),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_methods(run_finetune, tmp_path, checkpoint, words, learn):
    result = run_finetune(tmp_path, checkpoint, *words, "budget.examples=32", "finetune.shots=[]")
    assert result["train"]["steps"] == 2 and 0 <= result["test"]["accuracy"] <= 1
    assert learn is None or result["finetune"]["learning_parameters"] == learn
    before, after = load_file(checkpoint / "model.safetensors"), weights(tmp_path)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    if words[0] == "finetune=head":
        assert (
            not changed
            and result["bits_per_byte"]["examples"]["before"] == result["bits_per_byte"]["examples"]["after"]
        )
    if words[0] == "finetune=lora":
        assert changed and all(".c_" in name or "inputs" in name for name in changed)
        assert (tmp_path / "checkpoints" / "best" / "adapter" / "adapter_config.json").exists()
    if words[0] == "finetune=path":
        assert changed and all(".1." in name or "path_weight" in name for name in changed)


@pytest.mark.slow
def test_a_sweep_over_the_number_of_examples(cli: CommandLine, checkpoint, ticket_file):
    arms = "hydra.sweeper.arms=[{data.examples:16,budget.epochs:2},{data.examples:null,budget.epochs:1}]"
    words = ("experiment=learning_curve", f"checkpoint={checkpoint}", "data=own", f"data.path={ticket_file}", TEMPLATE)
    done = cli("-m", *words, *SMALL[:-1], arms, "seed=1,2", "hydra.sweep.dir=sweep", "hydra/launcher=basic")
    assert done.code == 0, done.err
    with open("sweep/results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["completed"] * 4
    assert all(0 <= float(row["test/accuracy"]) <= 1 for row in rows)
    assert "accuracy" in Path("sweep/results.md").read_text() and Path("sweep/report.html").exists()
    assert cli("task=generate", "checkpoint=sweep/0", "prompt=the page").code == 0
    exported = cli("task=export", "checkpoint=sweep/0", "hydra.run.dir=exported")
    assert exported.code == 0 and exported.result["export"]["labels"] == ["bug", "wish"]
    card = next(Path("exported").rglob("README.md")).read_text()
    assert (
        "| test accuracy |" in card
        and r'tokenizer("{text}\nLabel:"' in card
        and "It was adapted to classification (tickets)." in card
    )
    # fewer examples of a seed are part of more, and both seeds have the same held-out ones
    tests = [Path(f"sweep/{job}/evaluation/finetune_test.jsonl").read_text().splitlines() for job in range(4)]
    assert len({tuple(json.loads(line)["place"] for line in lines) for lines in tests}) == 1


def test_what_is_wrong_is_refused_before_any_work(cli: CommandLine, checkpoint, ticket_file):
    words = ("task=finetune", f"checkpoint={checkpoint}", "data=own", f"data.path={ticket_file}")
    refused = [
        (("task=finetune", "data=own"), "checkpoint=null: task=finetune needs the run directory"),
        ((*words, "data.template={text}: {labl}"), "data.template={labl}: no such field in"),
        ((*words, TEMPLATE, "finetune.frozen_path=5", "finetune=path"), "finetune.frozen_path=5: this model has"),
        ((*words, TEMPLATE, "compile=true"), "compile=true: task=finetune does not use it"),
        ((*words, TEMPLATE, "distill.weight=0.3"), "distill.weight=0.3: task=finetune does not use it"),
        (("finetune=lora",), "finetune=lora: task=train does not use it, task=finetune would; leave it out"),
    ]
    for given, message in refused:
        assert cli.refused(*given).startswith(message)


class Killed(BaseException):
    """Nobody catches it, as nobody catches kill -9."""


@pytest.mark.parametrize(
    "words",
    [
        ["finetune=lora", "finetune.dropout=0.2", "batch.micro=4"],
        pytest.param(["finetune.classifier=words", "finetune.class_weights=true"], marks=pytest.mark.slow),
    ],
    ids=["lora", "words"],
)
def test_resume_equals_no_interruption(run_finetune, tmp_path, checkpoint, monkeypatch, words):
    given = [
        *words,
        "budget.epochs=2",
        "validation.every=3",
        "resume=auto",
        "finetune.shots=[]",
        "finetune.patience=null",
    ]
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    expected = run_finetune(whole, checkpoint, *given)
    record = Recorder.on_train_batch_end

    def kill(self, trainer, module, *rest):
        record(self, trainer, module, *rest)
        if trainer.global_step == 8:
            raise Killed

    monkeypatch.setattr(Recorder, "on_train_batch_end", kill)
    with pytest.raises(Killed):
        run_finetune(halves, checkpoint, *given)
    monkeypatch.undo()
    result = run_finetune(halves, checkpoint, *given)
    assert result["test"] == expected["test"] and result["val"] == expected["val"]
    for name in ("best", "last"):
        one, other = weights(whole, name), weights(halves, name)
        assert all(torch.equal(one[key], other[key]) for key in one)
    clocks = ("seconds", "speed/tokens_per_second", "speed/mfu")
    rows = []
    for run_dir in (whole, halves):
        with (run_dir / "metrics.csv").open() as file:
            rows.append([{k: v for k, v in row.items() if k not in clocks} for row in csv.DictReader(file)])
    assert rows[0] == rows[1]


def test_it_stops_early_and_keeps_the_best(run_finetune, tmp_path, checkpoint):
    # a rate at which the loss cannot keep coming down
    words = ("optimizer.lr=0.3", "finetune.patience=2", "validation.every=1", "budget.epochs=20", "finetune.shots=[]")
    result = run_finetune(tmp_path, checkpoint, *words)
    with (tmp_path / "metrics.csv").open() as file:
        losses = [float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]]
    assert result["finetune"]["stopped_early"] and result["train"]["steps"] == len(losses)
    assert min(losses) == losses[-3] and result["best"]["step"] == len(losses) - 2
    assert result["val"]["loss"] == pytest.approx(min(losses), rel=1e-4)
    # gone on with, it trains no more
    again = run_finetune(tmp_path, checkpoint, *words, "resume=auto")
    assert again["train"]["steps"] == len(losses) and again["test"] == result["test"]


def test_early_stopping_counts_validations():
    callback = EarlyStopping(2)
    callback.load_state_dict({"best": 1.0, "waited": 1})
    assert not callback.stopped and callback.state_dict() == {"best": 1.0, "waited": 1}


def test_running_text_goes_the_way_of_every_training(run_finetune, tmp_path, checkpoint):
    (tmp_path / "text").mkdir()
    for number in range(30):
        (tmp_path / "text" / f"{number}.txt").write_text("\n".join(f"{row['text']} {number}" for row in tickets(20)))
    words = (
        "data=files",
        f"data.path={tmp_path / 'text'}",
        "batch.tokens=192",
        "budget.tokens=960",
        "data.holdout=0.2",
    )
    result = run_finetune(tmp_path / "run", checkpoint, *words, "finetune=lora", "finetune.patience=null")
    assert result["train"]["steps"] == 5 and result["val"]["bits_per_byte"] > 0 and result["samples"]
    assert (tmp_path / "run" / "checkpoints" / "best" / "adapter").is_dir()


@pytest.fixture(scope="module")
def published(tmp_path_factory, checkpoint) -> Path:
    """A GPT-2 as transformers saves it, with the tokenizer of the tiny model."""
    folder = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=320, n_positions=48, n_embd=32, n_layer=2, n_head=2)).save_pretrained(folder)
    load_checkpoint(str(checkpoint))[1].save_pretrained(folder)
    return folder


WANDB = ("logger=wandb", "logger.mode=offline", "logger.log_model=best")


@pytest.mark.parametrize("words", [["finetune=full"], ["finetune=lora", "finetune.classifier=words", *WANDB]], ids=str)
def test_a_published_model_is_adapted_too(run_finetune, tmp_path, published, words):
    result = run_finetune(tmp_path, published, *words, "budget.epochs=1")
    assert result["test"]["n"] > 0 and result["cost"]["parameters"] == sum(
        value.numel() for value in load_file(published / "model.safetensors").values()
    )
    model, _ = load_checkpoint(str(tmp_path / "checkpoints" / "best"))
    assert model.config.model_type == "gpt2"
    assert ("wandb" in result) == (WANDB[0] in words) == (tmp_path / "wandb").is_dir()


def test_a_published_model_is_taken_as_it_is(run_finetune, tmp_path, published):
    for word in ("model.n_layer=1", "model=gpt"):
        with pytest.raises(UserError, match=f"^{word.split('=')[0]}=.*: unknown to .*, a gpt2 model; leave it out"):
            run_finetune(tmp_path, published, word)


def test_a_smaller_model_begins_from_the_weights_of_a_larger_one(run_finetune, tmp_path, checkpoint):
    tokenizer, larger = load_checkpoint(str(checkpoint))[1], tmp_path / "larger"
    config = GPTConfig(vocab_size=320, n_layer=2, n_head=2, n_embd=32, block_size=48)
    for each in (GPT(config), tokenizer):
        each.save_pretrained(larger)
    words = ("model.n_layer=1", "finetune=head", "budget.examples=16", "finetune.shots=[]")
    result = run_finetune(tmp_path / "run", larger, *words)
    assert result["origin"]["narrowing"]["layers"] == [0] and result["origin"]["weights"] is None
    written = (tmp_path / "run" / "checkpoints" / "last" / "config.json").read_text()
    assert json.loads(written)["n_layer"] == 1


def test_answers_to_questions_and_summaries(run_finetune, tmp_path, checkpoint):
    rows = [{"c": f"the page {i}", "q": "when", "a": {"text": [f"today {i}", "today"]}} for i in range(60)]
    path = tmp_path / "qa.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("data=own", f"data.path={path}", r"data.template={c}\nQ: {q}\nA: {a.text}", "budget.examples=32")
    result = run_finetune(tmp_path / "qa", checkpoint, *words, "data.kind=question_answering")
    assert {"exact_match", "f1", "loss"} <= result["test"].keys() and "f1" in result["baselines"]["2 shots"]
    result = run_finetune(tmp_path / "sum", checkpoint, *words, "data.kind=summarization", "finetune.shots=[]")
    assert {"rouge1", "rouge2", "rougeL"} <= result["test"].keys()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["finetune=path", "finetune.frozen_path=2"], "finetune.frozen_path=2: this model has the paths 0 to 1"),
        (["budget.tokens=1000"], "budget.tokens=1000: examples differ in length; use budget.epochs"),
        (["batch.micro=5"], "batch.micro=5: does not divide the 16 examples of a step on one device"),
        (["trainer.overfit=true"], "trainer.overfit=true: of running text alone"),
        (["finetune.too_long=refuse", "data.template={text} {text} {text} {text}: {label}"], "context has room for"),
        (["data.examples=9999"], "data.examples=9999: there are"),
        (["finetune.adapter=nowhere"], "finetune.adapter=nowhere: of finetune=lora; leave it out"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_what_cannot_work_is_one_line(run_finetune, tmp_path, checkpoint, words, message):
    with pytest.raises(UserError) as error:
        run_finetune(tmp_path, checkpoint, *words)
    assert message in str(error.value) and "\n" not in str(error.value)
