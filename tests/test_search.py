"""Searches with Optuna as a user starts them, stops them and starts them again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

pytest.importorskip("optuna")

from smallgpt.launch.search import Search
from smallgpt.launch.search_options import Options

RUN = Path(__file__).parents[1] / "run.py"
WORK = '''
"""Tasks that take no time; their loss is least at dropout 0.1 and top_k 5."""
from smallgpt.targets import task
import time
from pathlib import Path
from smallgpt.errors import UserError

def note(name, run_dir):
    with open(name, "a") as file:
        file.write(run_dir.name + " ")

def loss(settings):
    return 1 + abs(settings.model.dropout - 0.1) + 0.01 * abs((settings.generation.top_k or 5) - 5)

@task
def quick(settings, run_dir):
    note("begun", run_dir)
    if run_dir.name == "1" and Path("broken").exists():
        raise RuntimeError("no more of this")
    note("completed", run_dir)
    return {"val": {"loss": loss(settings), "bits_per_byte": None}}

@task
def validated(settings, run_dir):
    """Job 5 is bad, and at work until it is told to stop."""
    bad = run_dir.name == "5"
    note("begun", run_dir)
    rows = "".join(f"{step * 8},{loss(settings) + bad}\\n" for step in (1, 2))
    (run_dir / "metrics.csv").write_text("tokens,val/loss\\n" + rows)
    time.sleep(60 * bad)
    note("completed", run_dir)
    return {"val": {"loss": loss(settings)}}

@task
def slow(settings, run_dir):
    note("begun", run_dir)
    time.sleep(0.5)
    note("completed", run_dir)
    return {"val": {"loss": loss(settings)}}
'''
SEARCH = ("-m", "hydra/sweeper=optuna", "hydra.sweep.dir=sweep", "task._target_=work.quick")
IN_PROCESS = (*SEARCH, "hydra/launcher=basic", "hydra.sweeper.n_trials=4")
DROPOUT = "model.dropout=interval(0,0.5)"


@pytest.fixture
def work(tmp_path, monkeypatch):
    (tmp_path / "work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("work", None)


def lines(path: Path) -> Counter:
    return Counter(path.read_text().split() if path.exists() else [])


def once(jobs: int) -> dict[str, int]:
    return {str(job): 1 for job in range(jobs)}


def results(folder: Path) -> list[dict]:
    """By number of the job."""
    found = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("sweep/*/result.json")}
    return [found[str(number)] for number in range(len(found))]


def values(folder: Path, key: str) -> list[str]:
    pairs = [dict(word.split("=", 1) for word in result["overrides"]) for result in results(folder)]
    return [pair[key] for pair in pairs]


@pytest.mark.slow
def test_choices_whole_numbers_and_intervals_in_numbered_directories(cli, work):
    words = (
        "model=gpt,lineargpt",
        DROPOUT,
        "generation.top_k=range(1,10,2)",
        "optimizer.lr=tag(log,interval(1e-4,1e-2))",
        "generation.temperature=range(0.1,0.9,0.2)",
        "generation.max_new_tokens=int(interval(1,4))",
        "seed=3",
    )
    outcome = cli(*IN_PROCESS, *words, "hydra.sweeper.n_trials=12")
    assert outcome.code == 0, outcome.err
    assert outcome.result["jobs"] == outcome.result["completed"] == 12
    assert "12 of 12 trials, best val.loss 1." in outcome.err
    assert set(values(work, "model")) == {"gpt", "lineargpt"} and set(values(work, "seed")) == {"3"}
    assert set(values(work, "generation.top_k")) <= set("13579") and set(
        values(work, "generation.max_new_tokens")
    ) <= set("1234")
    assert all(0 <= float(value) <= 0.5 for value in values(work, "model.dropout"))
    assert all(1e-4 <= float(value) <= 1e-2 for value in values(work, "optimizer.lr"))
    assert set(values(work, "generation.temperature")) <= {"0.1", "0.3", "0.5", "0.7"}
    assert lines(work / "begun") == once(12)


@pytest.mark.slow
def test_it_goes_on_to_the_number_of_trials_with_the_values_of_one_search(cli, work):
    words = (*IN_PROCESS, "hydra.sweeper.sampler=random", DROPOUT)
    assert cli(*words, "hydra.sweeper.n_trials=2").code == 0
    assert cli(*words).code == 0
    in_two_starts = values(work, "model.dropout")
    assert len(set(in_two_starts)) == 4 and lines(work / "begun") == once(4)
    assert cli(*words, "hydra.sweep.dir=other").code == 0
    assert values(work, "model.dropout") == in_two_starts
    assert (work / "other").is_dir()


@pytest.mark.slow
def test_a_failed_job_runs_again_at_the_next_start_under_its_number(cli, work):
    (work / "broken").touch()
    outcome = cli(*IN_PROCESS, DROPOUT)
    assert outcome.code == 1 and outcome.result["completed"] == 3 and "job 1 failed" in outcome.out
    before = values(work, "model.dropout")
    (work / "broken").unlink()
    outcome = cli(*IN_PROCESS, DROPOUT)
    assert outcome.code == 0 and outcome.result["completed"] == 4
    assert values(work, "model.dropout") == before
    assert lines(work / "begun") == once(4) | {"1": 2} and lines(work / "completed") == once(4)


def test_a_recipe_says_what_to_search_over_and_the_command_line_wins(cli, work):
    (work / "conf" / "experiment").mkdir(parents=True)
    recipe = (
        "# @package _global_\nhydra:\n  sweeper:\n    n_trials: 2\n"
        "    params:\n      model.dropout: interval(0,0.5)\n      seed: 1,2\n"
    )
    (work / "conf" / "experiment" / "dropout.yaml").write_text(recipe)
    path = f"hydra.searchpath=[file://{work / 'conf'}]"
    outcome = cli(*SEARCH, "hydra/launcher=basic", "experiment=dropout", path, "seed=7")
    assert outcome.code == 0, outcome.err
    assert values(work, "seed") == ["7", "7"] and len(set(values(work, "model.dropout"))) == 2


def test_refusals_before_any_work(cli, work, monkeypatch):
    def refused(*words):
        return cli.refused(*IN_PROCESS, *words)

    assert "nothing to search over" in refused("seed=1")
    assert "two jobs would share this directory" in refused(DROPOUT, "hydra.sweep.subdir=same")
    assert refused(DROPOUT, "hydra.sweeper.sampler=tpee").startswith("hydra.sweeper.sampler=tpee: must be one of tpe")
    assert "n_trials=0: must be over 0" in refused(DROPOUT, "hydra.sweeper.n_trials=0")
    assert "unknown key; did you mean 'hydra.sweeper.n_trials'?" in refused(DROPOUT, "hydra.sweeper.n_trial=3")
    assert refused("model.dropout=interval(0.5,0)").startswith("model.dropout=interval(0.5,0): ")
    assert refused("model.dropout=tag(log,interval(0,1))").startswith("model.dropout=tag(log,interval(0,1)): ")
    assert "tag lgo is unknown" in refused("model.dropout=tag(lgo,interval(0,1))")
    assert "holds no value" in refused("seed=range(3,3)")
    assert "model.dropout=-1" in refused("model.dropout=interval(-1,1)")
    assert "no such choice" in refused("model=gpt,lineargtp")
    assert "needs hydra/launcher=processes" in refused(DROPOUT, "hydra.sweeper.prune=true")
    words = (DROPOUT, "hydra/launcher=processes", "hydra.sweeper.prune=true", "hydra.sweeper.metric=train.loss")
    assert "a validation does not measure train.loss" in refused(*words)
    with monkeypatch.context() as patch:
        patch.setattr("smallgpt.packages.find_spec", lambda name: None)
        assert refused(DROPOUT) == "hydra/sweeper=optuna: optuna is not installed; `pip install optuna`"


@pytest.mark.parametrize(
    ("batch", "machines", "together"),
    [
        (None, SimpleNamespace(n_jobs=3), 3),
        (2, SimpleNamespace(n_jobs=3), 2),
        (None, SimpleNamespace(n_jobs=None), 1),  # Ray, which has as many as it has room for
        (None, None, 1),  # a launcher of Hydra's own
    ],
)
def test_as_many_are_chosen_together_as_run_at_once(batch, machines, together):
    search = SimpleNamespace(options=Options(batch=batch), checks=SimpleNamespace(machines=machines))
    assert Search.jobs_at_once.fget(search) == together


def test_another_study_is_refused(cli, work):
    words = (*IN_PROCESS, "hydra.sweeper.n_trials=1")
    assert cli(*words, DROPOUT).code == 0
    message = cli.refused(*words, "model.dropout=interval(0,0.4)")
    assert message == (
        "hydra.sweep.dir=sweep: its study searches model.dropout over 0.0 to 0.5, this one over 0.0 to 0.4; "
        "choose another directory"
    )
    assert "searches seed not at all, this one over 1,2;" in cli.refused(*words, DROPOUT, "seed=1,2")
    message = cli.refused(*words, DROPOUT, "hydra.sweeper.metric=val.bits_per_byte")
    assert message.startswith("hydra.sweeper.metric=val.bits_per_byte: the study in sweep has val.loss")
    assert "was begun with seed=1337, not 5" in cli.refused(*words, DROPOUT, "seed=5")


def test_a_half_written_line_of_the_study_is_cut(cli, work):
    words = (*IN_PROCESS, DROPOUT)
    assert cli(*words, "hydra.sweeper.n_trials=2").code == 0
    with (work / "sweep" / "study.log").open("ab") as file:
        file.write(b'{"op_code":5,"worker_id":"8a')
    outcome = cli(*words, "hydra.sweeper.n_trials=3")
    assert outcome.code == 0, outcome.err
    assert "sweep/study.log: its last line was half written, and is cut" in outcome.err
    assert lines(work / "completed") == once(3)
    path = work / "sweep" / "study.log"
    path.write_bytes(path.read_bytes().replace(b"{", b"", 1))
    assert cli.refused(*words) == "sweep/study.log: line 1 is damaged; choose another hydra.sweep.dir"


def test_a_metric_that_no_result_has_ends_the_search_at_once(cli, work):
    outcome = cli(*IN_PROCESS, DROPOUT, "hydra.sweeper.metric=val.los")
    assert outcome.code == 1 and lines(work / "begun") == once(1)
    assert "hydra.sweeper.metric=val.los: not in the result of job 0; did you mean 'val.loss'?" in outcome.err
    assert cli(*IN_PROCESS, DROPOUT).code == 0 and lines(work / "completed") == once(4)


def start(folder: Path, *words: str) -> subprocess.Popen:
    env = os.environ | {"PYTHONPATH": str(folder)}
    env.pop("HYDRA_FULL_ERROR", None)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, str(RUN), *SEARCH, *words], cwd=folder, env=env, **pipes)


@pytest.mark.slow
def test_killed_and_started_again_every_trial_is_completed_once(work):
    words = ("task._target_=work.slow", "hydra.sweeper.n_trials=3", "hydra.launcher.n_jobs=2", DROPOUT)
    first = start(work, *words)
    while not lines(work / "begun"):
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    last = start(work, *words)
    out, err = last.communicate(timeout=240)
    assert last.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["completed"] == 3 and "3 of 3 trials, best val.loss 1." in err
    assert lines(work / "completed") == once(3)


def test_two_searches_in_one_directory_are_refused(cli, work):
    (work / "sweep").mkdir()
    with FileLock(work / "sweep" / ".study.lock"):
        outcome = cli(*IN_PROCESS, DROPOUT)
    assert outcome.code == 1 and outcome.result["status"] == "refused"
    assert outcome.err.startswith("error: hydra.sweep.dir=sweep: another process searches in it;")
    assert not lines(work / "begun")


@pytest.mark.slow
def test_a_hopeless_job_is_pruned_and_skipped_from_then_on(cli, work, monkeypatch):
    """Optuna prunes what lies above the median of the trials before it, of which it waits for five."""
    monkeypatch.setenv("PYTHONPATH", str(work))
    words = (*SEARCH, "task._target_=work.validated", DROPOUT, "hydra.sweeper.prune=true")
    not_yet = ("hydra/launcher=basic", "hydra.sweeper.prune=false", "hydra.sweeper.n_trials=5")
    assert cli(*words, *not_yet).code == 0

    outcome = cli(*words, "hydra.sweeper.n_trials=6")
    assert outcome.code == 0, outcome.err
    assert outcome.result | {"status": "completed", "jobs": 6, "completed": 5, "pruned": 1} == outcome.result
    assert results(work)[5]["status"] == "pruned" and "job 5" not in outcome.out
    assert "5 of 5 jobs are completed and skipped" in outcome.err and "pruned, " in outcome.err

    outcome = cli(*words, "hydra.sweeper.n_trials=6")
    assert outcome.code == 0 and "6 of 6 jobs are completed and skipped (1 of them pruned)" in outcome.err
    assert lines(work / "begun") == once(6) and lines(work / "completed") == once(5)
