"""A variant in a package of the user's own, with a YAML in a folder of theirs: every command knows it."""

import json
import os
import shutil
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from command_line import CommandLine
from own_package import SMALL, write_own_package
from transformers import CONFIG_MAPPING

from smallgpt.errors import UserError
from smallgpt.model_folder import bring_imported_models

MINE = ("--config-dir", "myconf")
CHOICES = (
    "there is bowtie, canon, canon_bowtie, convgpt, gpt, lineargpt, mine, parallelgpt, taper; did you mean 'mine'?"
)


@pytest.fixture
def own(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> Generator[CommandLine]:
    write_own_package(cli.folder)
    monkeypatch.syspath_prepend(str(cli.folder / "packages"))
    monkeypatch.setenv("PYTHONPATH", f"packages{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    yield cli
    forget()


def forget() -> None:
    """As in a process that has not imported the package."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]
    CONFIG_MAPPING._extra_content.pop("smallgpt-skip", None)


def test_it_is_trained_and_its_checkpoint_is_read(own: CommandLine) -> None:
    trained = own(*SMALL, "model=mine", *MINE, "seed=3", "hydra.run.dir=run")  # options may stand among the values
    assert trained.code == 0, trained.err
    assert trained.result["variant"] == "mine"
    assert trained.result["cost"]["parameters_by_group"]["skips"] == 2
    forget()
    generated = own("task=generate", "prompt=Sentence", "generation.max_new_tokens=5", "checkpoint=run")
    assert generated.code == 0, generated.err


def test_one_that_is_not_known_is_refused(own: CommandLine) -> None:
    (own.folder / "model").mkdir()
    (own.folder / "model" / "config.json").write_text(json.dumps({"model_type": "smallgpt-elsewhere"}))
    message = own.refused("task=generate", "checkpoint=model", "prompt=a")
    assert message == (
        "checkpoint=model: a smallgpt-elsewhere model, which is unknown here; name its variant too, "
        "model= with --config-dir"
    )
    (own.folder / "run" / "checkpoints").mkdir(parents=True)
    (own.folder / "model").rename(own.folder / "run" / "checkpoints" / "best")
    (own.folder / "run" / "config.yaml").write_text("model: {_target_: elsewhere.Model}")
    message = own.refused("task=generate", "checkpoint=run", "prompt=a")
    assert message.startswith("checkpoint=run: model._target_=elsewhere.Model: cannot be imported (")
    assert message.endswith("; install its package, or name the folder that holds it in PYTHONPATH")


def test_others_are_matched_to_it_and_it_to_others(own: CommandLine) -> None:
    inspect = (*MINE, *SMALL, "task=inspect")
    alone = own(*inspect, "model=mine")
    to_it = own(*inspect, "model=lineargpt", "match=params", "match.to=mine", "match.tolerance=0.2")
    assert to_it.code == 0, to_it.err
    assert to_it.result["match"]["target"] == alone.result["cost"]["parameters"]
    it_to = own(*inspect, "model=mine", "match=params", "match.to=lineargpt", "match.tolerance=0.2")
    assert it_to.result["match"]["difference"] == pytest.approx(0, abs=0.2)
    packaged = (*SMALL, "hydra.searchpath=[pkg://mine.conf]", "task=inspect")
    assert own(*packaged, "match=params", "match.to=packaged").code == 0
    assert own(*packaged, "model=packaged").result["variant"] == "packaged"


def test_messages_name_it(own: CommandLine) -> None:
    assert own.refused(*MINE, "model=mime") == f"model=mime: no such choice; {CHOICES}"
    words = (*MINE, *SMALL, "match=params", "match.to=mime")
    assert own.refused(*words) == f"match.to=mime: no such model; {CHOICES}"
    assert (
        own.refused(*MINE, "size=debug", "task=benchmark", "benchmark.to=mime")
        == f"benchmark.to=mime: no such model; {CHOICES}"
    )
    (own.folder / "myconf" / "model" / "mine.yaml").write_text("_target_: mine.model.SkipGPT\nn_path: 2\n")
    assert own.refused(*MINE, "model.n_path=3") == (
        "model.n_path=3: unknown key of the chosen model; known to model=mine and model=parallelgpt"
    )
    assert own.refused("hydra.searchpath=[pkg://mine.cnf]") == (
        "hydra.searchpath: there is no mine.cnf; file:// names a folder, pkg:// an importable package"
    )
    assert own.refused("--config-dir", "myconv") == "--config-dir=myconv: no such folder; did you mean 'myconf'?"


@pytest.mark.slow
def test_jobs_of_a_sweep_are_processes_that_find_it(own: CommandLine) -> None:
    (own.folder / "random.py").write_text("raise RuntimeError('of the current folder')")
    swept = own(*MINE, *SMALL, "-m", "task=inspect", "model=gpt,mine", "hydra.sweep.dir=sweep")
    assert swept.code == 0, swept.err
    assert swept.result["completed"] == 2
    page = (own.folder / "sweep" / "report.html").read_text()
    assert "--config-dir myconf" in page and "mine" in page
    results = [json.loads(Path("sweep", number, "result.json").read_text()) for number in "01"]
    assert [result["variant"] for result in results] == ["gpt", "mine"]


@pytest.mark.slow
def test_its_export_brings_along_what_it_imports(own: CommandLine) -> None:
    assert own(*MINE, *SMALL, "model=mine", "hydra.run.dir=run").code == 0
    exported = own("task=export", "checkpoint=run", "hydra.run.dir=exported")
    assert exported.code == 0, exported.err  # another process has loaded it, without smallgpt
    folder = own.folder / "exported" / "hf"
    assert {"model.py", "configuration.py", "decoder.py", "layers.py"} <= {path.name for path in folder.glob("*.py")}
    shutil.copy(own.folder / "packages" / "mine" / "model.py", folder)
    (folder / "layers.py").write_text("# one of the user's own")
    with pytest.raises(UserError, match=r"^layers\.py: .* give yours another, so that both fit"):
        bring_imported_models(folder)
