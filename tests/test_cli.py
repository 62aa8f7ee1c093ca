"""What run.py does when nothing is wrong, and what it leaves when something breaks on the way."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import RUN, CommandLine
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from smallgpt.launch.config_files import CONF
from smallgpt.launch.loading import load_settings
from smallgpt.results import plain_json
from smallgpt.run_directory import config_hash

CHOICES = sorted(
    choice
    for path in CONF.glob("*/*.yaml")
    if path.parent.name != "hydra"
    and (choice := f"{path.parent.relative_to(CONF)}={path.stem}")
    not in ("task=import", "task=finetune", "budget=examples", "experiment=learning_curve")  # need a checkpoint
)
WORK = """
from smallgpt.targets import task
from smallgpt.errors import UserError

@task
def fine(settings, run_dir):
    return {"train": {"tokens": 5, "tokens_per_second": 2.5}, "val": {"loss": float("nan")}}

@task
def broken(settings, run_dir):
    if settings.seed == 2:
        raise RuntimeError("no more\\nof this")
    return {}

@task
def late(settings, run_dir):
    (run_dir / "metrics.csv").write_text("step")
    raise UserError("optimizer.lr=1: the loss is no number; try 0.1")

@task
def stopped(settings, run_dir):
    raise KeyboardInterrupt
"""


@pytest.fixture
def work(cli: CommandLine, monkeypatch: pytest.MonkeyPatch):
    """A module `work` with tasks that end in one way each."""
    (cli.folder / "work.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(cli.folder))
    yield
    sys.modules.pop("work", None)


def test_help_says_what_can_be_chosen_and_loads_nothing_heavy():
    command = [sys.executable, "-X", "importtime", str(RUN), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "hydra" in loaded and not {"torch", "lightning", "transformers", "pydantic"} & loaded
    for part in (
        "gpt, bowtie, canon, canon_bowtie",
        "hydra/launcher ",
        "seed=1337",
        "HYDRA_FULL_ERROR",
    ):
        assert part in done.stdout


NEEDS = {
    "eval=own": ["eval.path=my.jsonl"],
    "eval=tasks": ["eval.tasks=copa"],
    "tokenizer=pretrained": ["tokenizer.name=some/name", "tokenizer.vocab_size=1000"],
    "budget=flops": ["budget.flops=1e12"],
    "budget=seconds": ["budget.seconds=60"],
    "experiment=scaling": ["budget.flops=1e12"],  # each arm has its own
    "match=latency": ["model=gpt", "trainer.threads=1", "size=debug"],
    "experiment=matched_latency": ["model=gpt", "trainer.threads=1", "size=debug"],
}


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_passes_the_checks(cli: CommandLine, choice: str):
    words = [choice, *NEEDS.get(choice, [])]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", words, return_hydra_config=True)
        HydraConfig.instance().set_config(config)  # match= asks it for the sweep's size and block
        keys = [str(key) for key in config if key != "hydra"]
        settings = load_settings(OmegaConf.masked_copy(config, keys), words)
    HydraConfig.instance().cfg = None
    assert choice.partition("=")[0] in settings.chosen
    if settings.model is None:  # of a task that needs none
        return
    sequences = settings.accumulation * settings.micro_batch_size * settings.trainer.processes
    assert sequences * settings.model.block_size == settings.batch.tokens


def test_inspect_prices_the_paper_and_prepares_nothing(cli: CommandLine):
    words = ("task=inspect", "model=lineargpt", "size=paper", "block=gpt2", "tokenizer=gpt2", "budget.tokens=1e6")
    done = cli(*words, "hydra.run.dir=run")
    assert done.code == 0 and done.err == ""
    cost = done.result["cost"]
    assert cost["parameters"] == 36_423_936 and "36,423,936" in done.out
    assert cost["training_flops"] == cost["training_flops_per_token"] * cost["tokens"]
    assert cost["schedule"] in done.out and cost["schedule"].startswith("2@512 linear")
    assert cli.tree() == {"run", "run/config.yaml", "run/result.json"}
    assert json.loads(Path("run/result.json").read_text()) == done.result
    assert done.result["overrides"] == list(words) and done.result["environment"]["torch"]


def test_a_run_can_be_repeated_from_its_config(cli: CommandLine):
    first = cli("task=inspect", "model=convgpt", "model.kernel_size=3", "seed=7", "hydra.run.dir=first")
    config = OmegaConf.load("first/config.yaml")
    assert first.result["config_hash"] == config_hash(OmegaConf.to_container(config))
    assert load_settings(config).model.kernel_size == 3
    other = cli("task=inspect", "model=convgpt", "model.kernel_size=3", "seed=7", "cache_dir=y")
    assert other.result["config_hash"] == first.result["config_hash"]
    other = cli("task=inspect", "model=convgpt", "model.kernel_size=3", "seed=8", "hydra.run.dir=other")
    assert other.result["config_hash"] != first.result["config_hash"]


def test_prepare_says_what_it_made(cli: CommandLine):
    Path("text.txt").write_text("\n\n".join(f"Line {i} of a text." for i in range(3000)))
    words = ("data=files", "data.path=text.txt", "data.holdout=0.3", "tokenizer.vocab_size=300", "hydra.run.dir=run")
    done = cli("task=prepare", *words)
    assert done.code == 0
    assert done.result["data"]["train_tokens"] > 0 and done.result["data"]["vocab_size"] <= 300
    assert Path(done.result["data"]["directory"]).is_dir()
    assert done.result["data_fingerprint"]


def test_a_sweep_ends_in_one_table(cli: CommandLine):
    basic = "hydra/launcher=basic"
    done = cli("-m", "task=inspect", "model=gpt,lineargpt", "model.n_layer=2,4", "study=widths", basic)
    assert done.code == 0
    folder = Path("multirun_outputs/widths")
    result = {key: done.result[key] for key in ("status", "jobs", "completed", "results", "report")}
    assert result == {
        "status": "completed",
        "jobs": 4,
        "completed": 4,
        "results": str(folder / "results.csv"),
        "report": str(folder / "report.html"),
    }
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["job"], row["variant"]) for row in rows] == [
        ("0", "gpt"),
        ("1", "gpt"),
        ("2", "lineargpt"),
        ("3", "lineargpt"),
    ]
    table = done.out[done.out.rindex(" gpt n_layer=2") :]
    assert all(f"{variant} n_layer={depth}" in table for variant in ("gpt", "lineargpt") for depth in (2, 4))
    for row in rows:
        assert json.loads((folder / row["job"] / "result.json").read_text())["config_hash"] == row["config_hash"]
    for subdir in ("same", "${model.n_head}"):
        message = cli.refused("-m", "task=inspect", "seed=1,2", basic, f"hydra.sweep.subdir={subdir}")
        assert "two jobs would share this directory" in message and message.startswith("hydra.sweep.subdir=")
    message = cli.refused("-m", "task=inspect", "model=gpt,lineargpt", "study=widths", basic)
    assert "was begun with model.n_layer=2, not 4" in message


@pytest.mark.parametrize(
    ("task", "words", "code", "status", "error"),
    [
        ("broken", ("seed=2",), 1, "failed", "RuntimeError: no more of this"),
        ("late", (), 1, "failed", "optimizer.lr=1: the loss is no number; try 0.1"),
        ("stopped", (), 130, "interrupted", "interrupted"),
    ],
)
def test_whatever_happens_the_result_is_written(
    cli: CommandLine, work: None, task: str, words: tuple[str, ...], code: int, status: str, error: str
):
    done = cli(f"task._target_=work.{task}", "hydra.run.dir=run", *words)
    assert done.code == code
    assert (done.result["status"], done.result["error"]) == (status, error)
    assert json.loads(Path("run/result.json").read_text()) == done.result
    assert len(done.err.splitlines()) == 1 and "Traceback" not in done.err
    # what is not completed may be done again in the same place
    again = cli("task._target_=work.fine", "hydra.run.dir=run")
    assert again.code == 0 and again.result["val"] == {"loss": None}


def test_helpers_of_a_distributed_run_leave_the_result_to_the_first(
    cli: CommandLine, work: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LOCAL_RANK", "1")
    done = cli("task._target_=work.fine", "hydra.run.dir=run")
    assert done.code == 0 and done.out == ""
    assert os.listdir("run") == []


def test_results_are_plain_json():
    value = {"a": float("inf"), "b": [float("nan"), 1.5, (2,)], "c": Path("x"), 3: None}
    assert plain_json(value) == {"a": None, "b": [None, 1.5, [2]], "c": "x", "3": None}
