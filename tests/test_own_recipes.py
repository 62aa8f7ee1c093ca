"""The guides' recipes for an optimizer, a corpus, a task and a metric, in a package of the user's own."""

import csv
import os
import re
import sys
from collections.abc import Generator

import pytest
from command_line import CommandLine
from documentation import PAGES, recipe
from own_package import SMALL, TEXT

MINE = ("--config-dir", "myconf")


@pytest.fixture
def own(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> Generator[CommandLine]:
    """run.py beside a package `mine` and a folder `myconf` with the files of all recipes."""
    for page in ("own_optimizer", "own_corpus", "own_task", "own_metric"):
        for name, text in recipe(page).items():
            path = cli.folder / (f"packages/{name}" if name.startswith("mine/") else name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    (cli.folder / "packages" / "mine" / "__init__.py").touch()
    (cli.folder / "text.txt").write_text(TEXT)
    monkeypatch.syspath_prepend(str(cli.folder / "packages"))
    monkeypatch.setenv("PYTHONPATH", f"packages{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    yield cli
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]


def test_an_optimizer_learns_and_goes_on_in_the_same_bits(own: CommandLine):
    words = (*MINE, *SMALL, "optimizer=lion", "optimizer.lr=2e-3", "schedule=constant")
    whole = own(*words, "hydra.run.dir=whole")
    assert whole.code == 0, whole.err
    assert whole.result["val"]["loss"] < 5.7  # the logarithm of 300 tokens
    assert own(*words[:-1], "schedule=constant", "budget.tokens=1024", "hydra.run.dir=parts").code == 0
    parts = own(*words, "hydra.run.dir=parts", "resume=extend")
    assert parts.code == 0, parts.err
    assert parts.result["val"]["loss"] == whole.result["val"]["loss"]
    assert own.refused(*MINE, "optimizer=lion", "optimizer.lr=-1").startswith("optimizer.lr=-1: must be over 0")


def test_a_tokenizer_of_ones_own_making_is_taken(own: CommandLine):
    (code,) = re.findall(r"```python\n(.*?)```", (PAGES / "guides" / "own_tokenizer.md").read_text(), re.DOTALL)
    exec(compile(code, "own_tokenizer.md", "exec"), {})
    words = ("data=files", "data.path=text.txt", "tokenizer=pretrained", "tokenizer.name=my_tokenizer/")
    done = own("task=prepare", *words)
    assert done.code == 0, done.err
    assert 257 <= done.result["data"]["vocab_size"] <= 300


def test_a_corpus_is_prepared_and_trained_on(own: CommandLine):
    words = [word for word in SMALL if not word.startswith("data")]
    done = own(*MINE, *words, "data=sums", "data.n_documents=200")
    assert done.code == 0, done.err
    data = done.result["data"]
    assert data["corpus"] == "sums" and data["train_documents"] + data["validation_documents"] == 200
    other = own("task=prepare", *MINE, "data=sums", "data.n_documents=201", "tokenizer.vocab_size=300")
    assert other.code == 0, other.err
    message = own.refused("task=prepare", *MINE, "data=sums", "data.n_documents=0")
    assert message == "data.n_documents=0: must be over 1"


def test_a_task_and_a_metric_are_sections_of_the_result(own: CommandLine):
    swept = own("-m", *MINE, *SMALL, "task=repetition", "hydra/launcher=basic", "hydra.sweep.dir=sweep")
    assert swept.code == 0, swept.err
    with open("sweep/results.csv") as file:
        (row,) = csv.DictReader(file)
    assert row["status"] == "completed" and 0 <= float(row["val/repetition"]) <= 1
    counted = own(*MINE, "task=vocabulary", "checkpoint=sweep/0", "generation.max_new_tokens=5")
    assert counted.code == 0, counted.err
    assert "different words of" in counted.out and counted.result["vocabulary"]["words"] >= 0
    refused = own(*MINE, "task=vocabulary")
    assert refused.code == 1 and "checkpoint=null: task=vocabulary needs a run directory" in refused.err
