"""`model.*` overrides beside `checkpoint=` apply at inference or must be the checkpoint's; sweeps' runs are found."""

import json
from pathlib import Path
from typing import Any

import pytest
import sweeps
from command_line import CommandLine
from helpers import CASES, Case
from small_checkpoints import save_checkpoint

from smallgpt.errors import UserError
from smallgpt.inference.checkpoint import Wanted, load_checkpoint, read_config, variant_of, which_weights
from smallgpt.results import write_weights_record
from smallgpt.tasks.evaluate import names_of

PARALLEL = Case("parallelgpt", "gpt2", {"n_path": 2, "active_paths": [0]})
QUICK = (
    *("task=benchmark", "trainer.threads=1", "benchmark.rounds=1", "benchmark.prompts=[4]"),
    *("benchmark.batches=[1]", "benchmark.new_tokens=4", "benchmark.profile=false"),
)
TASKS = ("generate", "export", "benchmark", "evaluate")
ASKED = {"evaluate": ("eval=own", "eval.path=quiz.jsonl", "eval.untrained=false")}


@pytest.fixture
def run(cli: CommandLine) -> Path:
    """A run that was trained with its first path alone at validation."""
    run_dir = cli.folder / "run"
    save_checkpoint(PARALLEL, run_dir / "checkpoints" / "best")
    (run_dir / "result.json").write_text(json.dumps({"task": "train", "status": "completed", "val": {"loss": 2.0}}))
    Path("quiz.jsonl").write_text(json.dumps({"prompt": "a", "choices": ["b", "c"], "answer": 0}) + "\n")
    return run_dir


def words_of(task: str) -> tuple[str, ...]:
    if task == "evaluate":
        pytest.importorskip("lm_eval")
    return (*(QUICK if task == "benchmark" else (f"task={task}",)), "checkpoint=run", *ASKED.get(task, ()))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["model.n_layer=6"], "model.n_layer=6: run was trained with 4; leave it out"),
        (["model=parallelgpt", "model.n_path=4"], "model.n_path=4: run was trained with 2; leave it out"),
        (["model=gpt"], "checkpoint=run: a smallgpt-parallel model, but model= asks for smallgpt-gpt"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_another_model_than_the_checkpoints_is_refused(
    cli: CommandLine, run: Path, task: str, words: list[str], says: str
) -> None:
    assert cli.refused(*words_of(task), *words).startswith(says)


@pytest.mark.slow
def test_the_other_paths_run_and_the_run_keeps_its_own_figures(cli: CommandLine, run: Path) -> None:
    both = ("model=parallelgpt", "model.active_paths=null", "model.n_layer=4")
    before = (run / "result.json").read_text()
    outcome = cli(*QUICK, "checkpoint=run", *both, "hydra.run.dir=both")
    assert outcome.code == 0, outcome.err
    assert (run / "result.json").read_text() == before
    one = cli(*QUICK, "checkpoint=run", "hydra.run.dir=one").result["inference"]
    assert json.loads((run / "result.json").read_text())["inference"] == one
    read = [found["weight_bytes_read_per_token"] for found in (outcome.result["inference"], one)]
    assert read[0] > 1.5 * read[1]
    asked = ([], both, ["model=parallelgpt", "model.active_paths=[0]"], ["model=parallelgpt"])
    generate = ("task=generate", "checkpoint=run", "generation.temperature=0")
    said = [cli(*generate, *words, f"hydra.run.dir=said{i}").result["samples"] for i, words in enumerate(asked)]
    assert said[0] == said[2] == said[3] != said[1]


@pytest.mark.slow
def test_what_is_exported_runs_as_it_was_asked_and_claims_no_other_paths_scores(cli: CommandLine, run: Path) -> None:
    cards = {}
    for paths in (0, 1):
        words = ("model=parallelgpt", f"model.active_paths=[{paths}]", f"hydra.run.dir=exported/{paths}")
        outcome = cli("task=export", "checkpoint=run", *(words if paths else words[-1:]))
        assert outcome.code == 0, outcome.err
        folder = Path(f"exported/{paths}/hf")
        assert json.loads((folder / "config.json").read_text())["active_paths"] == [paths]
        cards[paths] = (folder / "README.md").read_text()
    assert "validation loss" in cards[0] and "validation loss" not in cards[1]
    assert "## Training" in cards[0] and "## Training" in cards[1]


def test_what_is_asked_with_other_paths_stays_out_of_the_run(cli: CommandLine, run: Path) -> None:
    before = (run / "result.json").read_text()
    outcome = cli(*words_of("evaluate"), "model=parallelgpt", "model.active_paths=[1]")
    assert outcome.code == 0, outcome.err
    assert (run / "result.json").read_text() == before


def test_paths_that_are_not_there(run: Path) -> None:
    with pytest.raises(UserError, match=r"^model\.active_paths=\[2\]: must name [^\n]*0 to 1"):
        read_config(str(run), Wanted(at_inference={"active_paths": [2]}))
    model, _ = load_checkpoint(str(run), Wanted(at_inference={"active_paths": [1]}))
    assert list(model.transformer.backbone.active) == [1] and model.config.active_paths == [1]


@pytest.mark.slow
def test_the_latency_of_a_sweeps_arms_is_in_its_report(cli: CommandLine) -> None:
    sweep = Path("study")
    choices: list[tuple[str, Any, str]] = [
        ("parallelgpt", {"n_path": 2}, "model.n_path=2"),
        ("parallelgpt", {"n_path": 2, "active_paths": [0]}, "model.active_paths=[0]"),
        ("gpt", {}, "model.dropout=0"),
    ]
    for variant, changes, word in choices:
        for seed in (1, 2):
            run_dir = sweeps.job(sweep, variant, seed, 4.0 + seed, word)
            save_checkpoint(Case(variant, "gpt2", changes), run_dir / "checkpoints" / "best")
    outcome = cli(*QUICK, "sweep=study")
    assert outcome.code == 0, outcome.err
    names = list(outcome.result["inferences"])
    assert [name.split()[:2] for name in names] == [["4", "gpt"], ["0", "parallelgpt"], ["2", "parallelgpt"]]
    measured = [json.loads((sweep / str(i) / "result.json").read_text()).get("inference") for i in range(6)]
    assert [section is not None for section in measured] == [True, False] * 3
    table = (sweep / "results.md").read_text()
    assert f"| {1e3 * measured[4]['seconds_per_token']:.3g} |" in table and "models took turns" in table
    assert "by one benchmark" not in table
    assert "quality_latency" in (sweep / "report.html").read_text()
    assert "inference/seconds_per_token" in (sweep / "results.csv").read_text().splitlines()[0]

    assert cli(*QUICK, "checkpoint=study/0", "hydra.run.dir=later").code == 0
    assert cli("task=report", "sweep=study", "hydra.run.dir=report").code == 0
    assert "Not all were measured by one benchmark" in (sweep / "results.md").read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sweep=nowhere"], "sweep=nowhere: no such directory"),
        (["sweep=study"], "sweep=study: no completed job has trained a model"),
        (["sweep=study", "checkpoint=study/0"], "sweep=study: checkpoint= is given too"),
        (["sweep=study", "quantize=bf16"], "quantize=bf16: sweep= is measured as it is stored"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_sweeps_that_cannot_be_measured(cli: CommandLine, words: list[str], says: str) -> None:
    run_dir = sweeps.job(Path("study"), task="inspect", loss=None)
    save_checkpoint(CASES[0], run_dir / "checkpoints" / "best")
    assert cli.refused(*QUICK, *words).startswith(says)


def test_a_model_is_called_what_its_run_says_or_its_variant(tmp_path: Path) -> None:
    folder = save_checkpoint(Case("convgpt"), tmp_path / "run" / "checkpoints" / "best")
    assert variant_of(str(folder)) == variant_of(str(tmp_path / "run")) == "convgpt"
    assert which_weights(str(tmp_path / "run")) is None
    write_weights_record(folder, 900, 3.5)
    (tmp_path / "run" / "result.json").write_text(json.dumps({"task": "train", "variant": "mine"}))
    assert variant_of(str(folder)) == variant_of(str(tmp_path / "run")) == "mine"
    assert which_weights(str(folder)) == which_weights(str(tmp_path / "run")) == "best, step 900"


def test_paths_with_nothing_in_common_keep_their_slash() -> None:
    assert names_of(["/a/run", "/b/run"]) == ["/a/run", "/b/run"]
    assert names_of(["/a/b/run", "/a/c/run"]) == ["b/run", "c/run"]
    assert names_of(["outputs/run"]) == ["run"]
