"""experiment=poc: one command, one report for a decision on one's own data."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_line import CommandLine

from smallgpt.errors import Unfinished, UserError
from smallgpt.launch.resolvers import candidate_arms
from smallgpt.results import read_result, write_result
from smallgpt.run_directory import config_of_run, refuse_other_config, write_config
from smallgpt.settings import ProofOfConcept
from smallgpt.tasks import poc_stages
from smallgpt.tasks.poc import in_keys_of_poc

WORDS = {"bug": ["broken", "crash", "error"], "wish": ["please", "could", "nice"]}
SMALL = [
    *("size=debug", "model.n_layer=2", "model.n_embd=32", "model.block_size=48", "batch.tokens=960"),
    *("budget.tokens=3840", "tokenizer.vocab_size=300", "data=files", "data.path=tickets.csv", "data.holdout=0.3"),
    *("validation.tokens=500", "validation.final_tokens=500", "generation.max_new_tokens=4", "trainer.threads=1"),
    *("poc.epochs=0.3", "poc.rounds=6", "poc.scored_examples=20", "poc.quantize=[int8_dynamic]", "poc.holdout=0.2"),
]


@pytest.fixture
def tickets(cli: CommandLine) -> CommandLine:
    """A command line in whose folder tickets.csv lies."""
    with open("tickets.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for i in range(150):
            label = "bug" if i % 3 else "wish"
            rows.writerow([f"the page {i * 7919 % 1000} is {WORDS[label][i % 3]} on day {i * 31 % 97}", label])
    return cli


def test_what_is_wrong_is_refused_before_any_work(tickets: CommandLine):
    poc = ("-m", "experiment=poc", "poc.data=tickets.csv")
    Path("one.csv").write_text("text,label\n" + "".join(f"word {i * 7919},x\n" for i in range(60)))
    refused = [
        (("experiment=poc",), "experiment=poc: a sweep over 3 arms, seed; add -m"),
        (("-m", "experiment=poc"), "poc.data=null: whose examples? give poc.data="),
        (("-m", "experiment=poc", "poc.data=ticket.csv"), "poc.data=ticket.csv: no such file or folder"),
        ((*poc, "poc.max_memry_mb=3"), "poc.max_memry_mb"),
        ((*poc, "poc.min_accuracy=90"), "poc.min_accuracy=90: "),
        ((*poc, r"poc.template={text}: {lable}"), "poc.template={lable}: no such field in"),
        ((*poc, "poc.label=topic"), "poc.label=topic: no such field in"),
        ((*poc, "poc.template={text}"), "poc.template={text}: must end with the field"),
        ((*poc, "poc.models=[]"), "poc.models=[]: there is no candidate"),
        ((*poc, "poc.models=[gpt,gpt]"), "poc.models=['gpt', 'gpt']: one is there twice"),
        ((*poc, "poc.prompt_tokens=500"), "poc.prompt_tokens=500: the context has 128"),
        ((*poc, "quantize=int4"), "quantize=int4: task=poc does not use it"),
        (("poc.data=tickets.csv",), "poc: unknown key"),
    ]
    for given, message in refused:
        assert tickets.refused(*given).startswith(message), given
    assert "so is every other training example" in tickets.refused(
        "-m", "experiment=poc", "poc.data=one.csv", "poc.holdout=0.4"
    )


def test_jobs_that_are_timed_run_alone(tickets: CommandLine):
    done = tickets("-m", "experiment=poc", "poc.data=tickets.csv", "hydra.launcher.n_jobs=2")
    assert done.code == 1 and "error: hydra.launcher.n_jobs=2: jobs of task=poc are timed and would disturb" in done.err


def test_messages_about_the_data_name_the_keys_of_the_recipe():
    asked = ProofOfConcept(label="team")
    said = in_keys_of_poc("data.path=x.csv, line 3: label is empty; a larger data.holdout than 0.1", asked)
    assert said == "poc.data=x.csv, line 3: label is empty; a larger poc.holdout than 0.1"
    assert in_keys_of_poc("data=tickets: no test example", asked).startswith("poc.data=tickets: ")
    missing = "data.template={team}: no such field in x.csv"
    assert in_keys_of_poc(missing, asked) == "poc.label=team: no such field in x.csv"
    given = ProofOfConcept(template="{a}: {team}")
    assert in_keys_of_poc(missing, given) == "poc.template={team}: no such field in x.csv"


def test_candidates_are_variants_and_trained_models():
    assert candidate_arms(["gpt", "taper"], "runs/a") == [
        {"model": "gpt"},
        {"model": "taper"},
        {"checkpoint": "runs/a"},
    ]
    assert candidate_arms(None, ["x", "y"]) == [{"checkpoint": "x"}, {"checkpoint": "y"}]
    assert candidate_arms(None, "/runs/a, b=[1]") == [{"checkpoint": "'/runs/a, b=[1]'"}]
    with pytest.raises(UserError, match="there is no candidate"):
        candidate_arms(None, None)


def test_a_stage_that_is_completed_is_not_repeated(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(poc_stages, "result_header", lambda settings, choices: {})

    settings: Any = SimpleNamespace(plain={"seed": 1}, resume=None, model=None)

    def work(settings, folder):
        asked.append(folder)
        if len(asked) == 1:
            raise KeyboardInterrupt
        return {"found": 3}

    with pytest.raises(KeyboardInterrupt):
        poc_stages.stage(settings, tmp_path / "a", work)
    for _ in range(2):
        assert poc_stages.stage(settings, tmp_path / "a", work)["found"] == 3
    assert len(asked) == 2
    write_result(tmp_path / "a", {**(read_result(tmp_path / "a") or {}), "status": "interrupted"})
    poc_stages.stage(settings, tmp_path / "a", work)
    assert len(asked) == 3


def test_a_stage_in_which_something_was_not_measured_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(poc_stages, "result_header", lambda settings, choices: {})
    settings: Any = SimpleNamespace(plain={"seed": 1}, resume=None, model=None)

    def fails(settings, folder):
        raise Unfinished("the memory was not measured", {"memory": None})

    first = poc_stages.stage(settings, tmp_path / "memory", fails)
    assert (first["status"], first["memory"]) == ("failed", None)
    assert first["error"] == "the memory was not measured; the same command tries again"
    second = poc_stages.stage(settings, tmp_path / "memory", lambda settings, folder: {"memory": 3})
    assert (second["status"], second["error"], second["memory"]) == ("completed", None, 3)


def test_stages_are_the_same_where_their_sweep_was_moved_to(tmp_path, monkeypatch):
    monkeypatch.setattr(poc_stages, "result_header", lambda settings, choices: {})

    def asked(sweep: Path, checkpoint: str) -> dict[str, Any]:
        settings: Any = SimpleNamespace(plain={"checkpoint": [checkpoint]}, resume=None, model=None)
        (sweep / "0").mkdir(parents=True, exist_ok=True)
        return poc_stages.stage(settings, sweep / "0" / "onnx", lambda settings, folder: {"folder": str(folder)})

    old, new = tmp_path / "old", tmp_path / "new"
    first = asked(old, str(old / "0" / "adapted"))
    assert config_of_run(old / "0" / "onnx")["checkpoint"] == ["../adapted"]
    old.rename(new)
    assert asked(new, str(new / "0" / "adapted")) == first
    with pytest.raises(UserError, match="was begun with checkpoint="):
        asked(new, "/another/run")
    write_config(new / "0" / "onnx", {"checkpoint": [str(new / "0" / "adapted")]})  # as earlier versions did
    assert asked(new, str(new / "0" / "adapted")) == first


def test_a_candidate_is_gone_through_again_for_other_limits_and_for_what_failed(tmp_path):
    plain = {"poc": {"max_memory_mb": 300, "epochs": 6}}

    def status(now: dict[str, Any], stage: str = "completed", task: str = "poc") -> str:
        write_config(tmp_path, plain)
        write_result(tmp_path, {"task": task, "status": "completed", "poc": {}})
        (tmp_path / "memory").mkdir(exist_ok=True)
        write_result(tmp_path / "memory", {"status": stage})
        poc_stages.reopen(tmp_path, now)
        return (read_result(tmp_path) or {})["status"]

    other = {"poc": {"max_memory_mb": 200, "epochs": 6}}
    assert status(plain) == "completed"
    assert status(other) == status(plain, "failed") == "interrupted"
    assert status(other, task="train") == "completed"
    settings: Any = SimpleNamespace(plain=other, resume=None, model=None)
    write_result(tmp_path, {"status": "completed"})
    refuse_other_config(tmp_path, settings)
    settings.plain = {"poc": {"max_memory_mb": 300, "epochs": 5}}
    with pytest.raises(UserError, match=r"was begun with poc\.epochs=6, not 5"):
        refuse_other_config(tmp_path, settings)


@pytest.mark.slow
def test_from_a_table_of_tickets_to_a_report(tickets: CommandLine):
    limits = ("poc.max_latency_ms=10000", "poc.max_memory_mb=4000", "poc.max_hours=1", "poc.requests_per_day=500")
    words = ("-m", "experiment=poc", "poc.data=tickets.csv", "poc.models=gpt", "poc.question=Which one?", *limits)
    command = (*words, *SMALL, "seed=1", "hydra.sweep.dir=sweep", "hydra/launcher=basic")
    done = tickets(*command)
    assert done.code == 0, done.err
    record = json.loads(Path("sweep/results.json").read_text())
    assert [each["form"] for each in record["candidates"]] == ["PyTorch", "ONNX", "ONNX int8"]
    torch, graph, int8 = record["candidates"]
    assert torch["accuracy"] == graph["accuracy"] and int8["disk_mb"] < graph["disk_mb"]
    assert graph["memory_mb"] < torch["memory_mb"] and graph["answer_seconds"] > 0
    assert record["question"] == "Which one?"
    # the three say the same of twenty examples, which are too few to prove that
    assert record["summary"][0].startswith("No recommendation yet: 3 candidates keep every limit")
    page = Path("sweep/report.html").read_text()
    assert "The candidates against your limits" in page and "Which one?" in page
    (memory,) = {read_result(Path("sweep/0/memory"))["memory"]["ONNX"]["torch_imported"]}  # ty: ignore[not-subscriptable]
    assert memory is False
    # other limits: nothing is done again but the decision
    before = Path("sweep/0/speed/result.json").stat().st_mtime_ns
    done = tickets(*command, "poc.max_memory_mb=1", "poc.question=Which one is small?")
    assert done.code == 0, done.err
    record = json.loads(Path("sweep/results.json").read_text())
    assert record["question"] == "Which one is small?" and record["limits"]["max_memory_mb"] == 1
    assert record["summary"][0] == "No candidate keeps every limit."
    assert Path("sweep/0/speed/result.json").stat().st_mtime_ns == before
    # the run that was adapted is a candidate like any other
    again = tickets(
        *command[:3],
        "poc.models=null",
        "poc.pretrained=sweep/0/trained",
        *command[4:-2],
        "hydra.sweep.dir=b",
        command[-1],
    )
    assert again.code == 0, again.err
    assert not Path("b/0/trained").exists() and Path("b/report.html").exists()
