"""The Python API: what `import smallgpt` gives to notebooks, with the command line's checks and messages."""

import copy
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine
from sweeps import failed, job

import smallgpt
from smallgpt.api import calls
from smallgpt.api.calls import words_of_settings
from smallgpt.api.runs import Run

HEAVY = {"numpy", "pandas", "torch", "hydra", "omegaconf", "pydantic", "altair", "transformers"}


def test_importing_it_loads_nothing_heavy():
    code = "import smallgpt, sys; assert {'train', 'load', 'compare'} <= set(dir(smallgpt)); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        smallgpt.trian  # noqa: B018


def test_python_values_become_words_of_the_command_line():
    settings = {
        "model": "lineargpt",
        "budget": {"tokens": 3e5},
        "compile": True,
        "model.widths": [64, 32],
        "match.baseline": {"n_layer": 6},
        "prompt": "def main(",
        "checkpoint": Run(Path("outputs/a b"), {}),
        "optimizer.lr": np.float64(0.004),
        "data": {"path": Path("my books")},
        "hydra": {"launcher": {"n_jobs": 2}},
        "resume": None,
    }
    assert list(words_of_settings(settings)) == [
        "model=lineargpt",
        "budget.tokens=300000.0",
        "compile=true",
        "model.widths=[64,32]",
        "match.baseline={n_layer:6}",
        "prompt='def main('",
        "checkpoint='outputs/a b'",
        "optimizer.lr=0.004",
        "data.path='my books'",
        "hydra.launcher.n_jobs=2",
        "resume=null",
    ]
    axes = {"model": ["gpt", "canon"], "optimizer": {"lr": [1e-3, 2e-3]}, "model.widths": (64, 32), "seed": 1}
    assert list(words_of_settings(axes, axes=True)) == [
        "model=gpt,canon",
        "optimizer.lr=0.001,0.002",
        "model.widths=[64,32]",
        "seed=1",
    ]
    with pytest.raises(smallgpt.UserError, match=r"^seed=\[\]: has no values"):
        list(words_of_settings({"seed": []}, axes=True))


def test_what_is_wrong_is_said_in_the_command_lines_words(cli: CommandLine):
    message = cli.refused("model=linergpt")
    with pytest.raises(smallgpt.UserError) as refused:
        smallgpt.train(model="linergpt")
    assert str(refused.value) == message and "did you mean 'lineargpt'?" in message
    # what a notebook shows in place of a traceback
    assert refused.value._render_traceback_() == [f"UserError: {message}"]
    assert cli.tree() == set()


@pytest.mark.parametrize(
    ("word", "instead"),
    [("hydra.run.dir=a", "give directory="), ("resume=last", "give directory= and resume='auto'"), ("-m", "sweep")],
)
def test_words_that_a_parameter_is_for_are_refused(word: str, instead: str):
    with pytest.raises(smallgpt.UserError, match=f"^{word}: .*{instead}"):
        smallgpt.train(word)


def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Puts another program in the place of ours, whose end is then told."""
    folder = tmp_path / "elsewhere" / "smallgpt"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "__main__.py").write_text(code)
    monkeypatch.setattr(calls, "python_path", lambda: str(folder.parent))


def test_a_process_that_dies_is_an_error_that_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program(tmp_path, monkeypatch, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(RuntimeError, match=r"^run: was ended by SIGKILL, without a result"):
        smallgpt.train(directory="run")


def test_a_run_that_fails_is_an_error_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    lines = ["print('step 1')", "print('error: no more room')"]
    result = '{"status": "failed", "error": "no more room"}'
    program(tmp_path, monkeypatch, "\n".join([*lines, f"print('{result}')", "raise SystemExit(1)"]))
    with pytest.raises(RuntimeError, match=r"^run: failed: no more room"):
        smallgpt.train(directory="run")
    assert capsys.readouterr().out == "step 1\nerror: no more room\n"


def test_errors_that_are_not_raised_are_printed_where_they_stood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    lines = ["error: of a sample", "step 1", "error: of a figure", "error: no such model"]
    result = '{"status": "refused", "error": "no such model"}'
    program(tmp_path, monkeypatch, f"print(*{[*lines, result]}, sep=chr(10))")
    with pytest.raises(smallgpt.UserError, match=r"^no such model$"):
        smallgpt.train(directory="run")
    assert capsys.readouterr().out.splitlines() == lines[:3]


def test_an_interrupted_cell_lets_the_run_save_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    waits = ["import os, signal, time", "try:", "    os.kill(os.getppid(), signal.SIGINT)", "    time.sleep(60)"]
    saves = ["except KeyboardInterrupt:", "    open('saved', 'w').close()"]
    program(tmp_path, monkeypatch, "\n".join([*waits, *saves]))
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in the background
    try:
        with pytest.raises(KeyboardInterrupt):
            smallgpt.train(directory="run")
    finally:
        signal.signal(signal.SIGINT, before)
    assert Path("saved").exists()


def test_a_run_has_its_result_as_attributes(tmp_path: Path):
    run = smallgpt.load(job(tmp_path / "sweep", "lineargpt", 1, 3.5, "optimizer.lr=2e-3"))
    assert run.val.loss == run.result["val"]["loss"] == 3.5
    assert run.config.optimizer.lr == 2e-3 and run.seed == 1
    assert list(run.metrics["tokens"]) == [1000, 2000, 3000, 4000]
    assert "val" in dir(run) and "loss" in dir(run.val)
    assert "lineargpt train, completed, validation loss 3.5000" in repr(run)
    with pytest.raises(AttributeError, match=r"^vall: no such entry; did you mean 'val'\?"):
        run.vall  # noqa: B018
    assert copy.copy(run).val == run.val and pickle.loads(pickle.dumps(run)).val.loss == 3.5


def test_what_is_no_run_is_refused_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    job(Path("sweep"))
    Path("sweep/multirun.yaml").write_text("hydra: {}")
    with pytest.raises(smallgpt.UserError, match=r"^run=swep: no such directory; did you mean 'sweep'\?"):
        smallgpt.load("swep")
    with pytest.raises(smallgpt.UserError, match=r"^run=sweep: is a sweep; smallgpt\.compare reads it"):
        smallgpt.load("sweep")
    Path("sweep/0/result.json").write_text("{")
    with pytest.raises(smallgpt.UserError, match=r"^run=sweep/0: result\.json is damaged"):
        smallgpt.load("sweep/0")
    with pytest.raises(smallgpt.UserError, match=r"^sweep=swep: no such directory; did you mean 'sweep'\?"):
        smallgpt.compare("swep")
    with pytest.raises(smallgpt.UserError, match=r"^sweep=\[\]: names no directory"):
        smallgpt.compare([])


def test_a_sweep_is_frames_and_figures(tmp_path: Path):
    sweep = tmp_path / "sweep"
    for seed, (theirs, ours) in enumerate([(4.0, 3.8), (4.1, 3.91), (4.2, 3.99)], 1):
        job(sweep, "gpt", seed, theirs)
        job(sweep, "lineargpt", seed, ours)
    failed(sweep, "out of memory", "model=convgpt", "seed=1")
    found = smallgpt.compare(sweep)
    arm = found.arms.loc["lineargpt"]
    assert arm["loss"] == pytest.approx(3.9) and arm["difference"] == pytest.approx(-0.2)
    assert arm["difference_low"] < -0.2 < arm["difference_high"] < 0 and arm["verdict"] == "better"
    assert found.arms.loc["gpt", "verdict"] == "baseline" and list(found.arms["seeds"]) == [3, 3]
    assert found.answer[0].startswith("lineargpt has the lowest validation loss 3.9000")
    assert list(found.jobs["status"]) == ["completed"] * 6 + ["failed"]
    assert list(found.jobs["arm"][:2]) == ["gpt", "lineargpt"] and found.jobs["val/loss"].iloc[1] == 3.8
    assert set(found.curves["arm"]) == {"gpt", "lineargpt"} and len(found.curves) == 24
    assert [run.status for run in found.runs][-1] == "failed"
    assert "lineargpt" in found._repr_html_() and "has the lowest" in repr(found)
    chart = found.figures["loss"]
    assert "tokens" in chart.to_json() and chart.properties(width=300).to_dict()["width"] == 300


def test_several_sweeps_are_compared_together_and_apart_where_their_data_differ(tmp_path: Path):
    job(tmp_path / "a", "gpt", 1, 4.0)
    job(tmp_path / "b", "canon", 1, 3.0)
    both = smallgpt.compare([tmp_path / "a", smallgpt.compare(tmp_path / "b")])
    assert list(both.arms["difference"].dropna()) == [-1.0]
    with pytest.raises(smallgpt.UserError, match=r"^baseline=cannon: no arm of that name"):
        smallgpt.compare([tmp_path / "a", tmp_path / "b"], baseline="cannon")
    job(tmp_path / "c", "canon", 1, 3.0, data="text-b")
    apart = smallgpt.compare([tmp_path / "a", tmp_path / "c"])
    assert apart.arms["difference"].isna().all() and len(apart.answer) == 2
    assert {name.partition("_")[0] for name in apart.figures} == {"data1", "data2"}
