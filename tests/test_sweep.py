"""Sweeps as a user starts them, stops them and starts them again: every job is completed exactly once."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from smallgpt.launch.starter import last_line

RUN = Path(__file__).parents[1] / "run.py"
WORK = '''
"""Tasks that leave a line for each job they begin and each they complete."""
from smallgpt.targets import task
import os, signal, time
from pathlib import Path

def note(name, settings):
    with open(name, "a") as file:
        file.write(f"{settings.seed}\\\\n")

@task
def slow(settings, run_dir):
    note("begun", settings)
    time.sleep(0.5)
    note("completed", settings)
    return {"val": {"loss": float(settings.seed)}}

@task
def threads(settings, run_dir):
    with open("threads", "a") as file:
        print(os.environ["OMP_NUM_THREADS"], file=file)
    return {}

@task
def broken(settings, run_dir):
    note("begun", settings)
    if settings.seed == 2 and not Path("mended").exists():
        raise RuntimeError("no more of this")
    if settings.seed == 3 and not Path("mended").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    note("completed", settings)
    return {}
'''


class Sweep:
    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "work.py").write_text(WORK.replace("\\\\n", "\\n"))
        self.env = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
        self.env.pop("HYDRA_FULL_ERROR", None)

    def start(self, task: str, seeds: str, n_jobs: int = 2, *words: str) -> subprocess.Popen:
        return self.command(f"task._target_=work.{task}", f"seed={seeds}", f"hydra.launcher.n_jobs={n_jobs}", *words)

    def command(self, *words: str, name: str = "sweep", **options) -> subprocess.Popen:
        command = [sys.executable, str(RUN), "-m", *words, f"hydra.sweep.dir={name}"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=self.folder, env=self.env, **pipes, **options)

    def training(self) -> list[str]:
        """Words for a tiny run."""
        text = "\n\n".join(f"Sentence {i} of a text with {i % 7} words and {i % 11} others." for i in range(2000))
        (self.folder / "text.txt").write_text(text)
        data = ["data=files", "data.path=text.txt", "tokenizer.vocab_size=300", "cache_dir=cache"]
        return ["size=debug", "batch.tokens=512", "budget.tokens=20000", "validation.every=10", *data]

    def lines(self, name: str) -> Counter:
        path = self.folder / name
        return Counter(path.read_text().split() if path.exists() else [])

    def statuses(self) -> list[str | None]:
        paths = [self.folder / "sweep" / str(i) / "result.json" for i in range(len(self.jobs()))]
        return [json.loads(path.read_text())["status"] if path.exists() else None for path in paths]

    def completed(self, name: str = "sweep") -> dict[str, int]:
        """When the result of each completed job was written."""
        paths = (self.folder / name).glob("*/result.json")
        return {
            p.parent.name: p.stat().st_mtime_ns for p in paths if json.loads(p.read_text())["status"] == "completed"
        }

    def losses(self, name: str) -> dict[str, float]:
        paths = (self.folder / name).glob("*/result.json")
        return {path.parent.name: json.loads(path.read_text())["val"]["loss"] for path in paths}

    def jobs(self) -> list[Path]:
        return [path for path in (self.folder / "sweep").iterdir() if path.is_dir()]


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path)


@pytest.mark.slow
def test_a_failing_job_stops_no_other_and_alone_runs_again(sweep):
    first = sweep.start("broken", "1,2,3,4")
    out, err = first.communicate(timeout=240)
    assert first.returncode == 1
    assert sweep.statuses() == ["completed", "failed", "failed", "completed"]
    assert "job 1 failed: RuntimeError: no more of this" in out
    assert "job 2 failed: ended by signal SIGKILL; see log.txt" in out
    assert "[4/4]" in err and json.loads(out.splitlines()[-1])["completed"] == 2

    (sweep.folder / "mended").touch()
    again = sweep.start("broken", "1,2,3,4", 2, "logger=tensorboard")
    out, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    assert "2 of 4 jobs are completed and skipped" in err
    assert "logger: 2 of them ran with another one, and what is over is not logged again" in err
    assert sweep.lines("completed") == {"1": 1, "2": 1, "3": 1, "4": 1}
    assert json.loads(out.splitlines()[-1])["completed"] == 4


@pytest.mark.slow
def test_killed_and_started_again_every_job_is_completed_once(sweep):
    random.seed(0)
    for _ in range(3):
        process = sweep.start("slow", "1,2,3,4,5", n_jobs=1)
        time.sleep(random.uniform(3, 9))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    last = sweep.start("slow", "1,2,3,4,5")
    _, err = last.communicate(timeout=240)
    assert last.returncode == 0, err
    assert sweep.statuses() == ["completed"] * 5
    assert sweep.lines("completed") == {str(seed): 1 for seed in range(1, 6)}


@pytest.mark.slow
def test_jobs_take_no_more_cores_than_the_sweep_may(sweep):
    del sweep.env["OMP_NUM_THREADS"]
    core = min(os.sched_getaffinity(0))
    process = sweep.command(
        "task._target_=work.threads", "seed=1,2", preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert sweep.lines("threads") == {"1": 2}


@pytest.mark.slow
def test_two_starters_share_the_jobs(sweep):
    processes = [sweep.start("slow", "1,2,3,4", n_jobs=1) for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        assert json.loads(out.splitlines()[-1])["completed"] == 4
    assert sweep.lines("begun") == sweep.lines("completed") == {str(seed): 1 for seed in range(1, 5)}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twelve_jobs_shared_by_two_starters_or_killed_four_times_are_the_same(sweep):
    """Two starters finish a sweep undisturbed; one that is killed at random moments ends in the same losses."""
    words = ["model=gpt,parallelgpt,lineargpt,convgpt", "seed=1,2,3", *sweep.training()]
    begun = time.monotonic()
    starters = [sweep.command(*words, name="shared") for _ in range(2)]
    for starter in starters:
        _, err = starter.communicate(timeout=600)
        assert starter.returncode == 0, err
    seconds = time.monotonic() - begun
    logs = [path.read_text() for path in (sweep.folder / "shared").glob("*/log.txt")]
    assert [log.count('{"status": "completed"') for log in logs] == [1] * 12  # each job says it when it ends

    words.append("hydra.launcher.n_jobs=2")
    chance, before = random.Random(0), {}
    for _ in range(4):
        starter = sweep.command(*words, name="killed", start_new_session=True)
        moment = chance.uniform(0.1, 0.3) * seconds
        time.sleep(moment)
        os.killpg(starter.pid, signal.SIGKILL)
        starter.communicate()
        after = sweep.completed("killed")
        print(f"killed after {moment:.1f} s with {len(after)} jobs completed")
        assert before.items() <= after.items()  # nothing was done twice
        before = after
    starter = sweep.command(*words, name="killed")
    out, err = starter.communicate(timeout=600)
    assert starter.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["completed"] == 12
    assert len(sweep.completed("killed")) == 12 and before.items() <= sweep.completed("killed").items()
    assert sweep.losses("killed") == sweep.losses("shared")
    with (sweep.folder / "killed" / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 12
    assert (sweep.folder / "killed" / "report.html").exists()


@pytest.mark.slow
def test_configs_are_fixed_at_the_start(sweep):
    process = sweep.start("slow", "1,2,3", n_jobs=1)
    while not (sweep.folder / "begun").exists():
        time.sleep(0.1)
    assert all((job / "config.yaml").exists() for job in sweep.jobs()) and len(sweep.jobs()) == 3
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 143 and "stopping 1 jobs" in err


BROKEN = '''
"""A model of which the second process fails at its fifth step, until it is mended."""
import os
from pathlib import Path
from smallgpt.models.gpt import GPT

class Broken(GPT):
    steps = 0

    def next_token_loss(self, *args, **kwargs):
        self.steps += self.training
        if self.steps == 5 and os.environ.get("LOCAL_RANK") == "1" and not Path("mended").exists():
            raise RuntimeError("broken on purpose")
        return super().next_token_loss(*args, **kwargs)
'''


@pytest.mark.slow
@pytest.mark.ddp
@pytest.mark.timeout(1800)
def test_a_distributed_sweep_with_a_broken_job(sweep):
    """Four variants, two seeds and one job of which a process fails: stopped three times, each is completed once."""
    experiments = sweep.folder / "conf" / "experiment"
    experiments.mkdir(parents=True)
    names = [f"{model}_{seed}" for model in ("gpt", "parallelgpt", "lineargpt", "convgpt") for seed in (1, 2)]
    for name in names:
        model, seed = name.split("_")
        text = f"# @package _global_\ndefaults:\n  - override /model: {model}\nseed: {seed}\n"
        (experiments / f"{name}.yaml").write_text(text)
    (experiments / "broken.yaml").write_text("# @package _global_\nmodel:\n  _target_: broken.Broken\n")
    (sweep.folder / "broken.py").write_text(BROKEN)
    words = [
        f"experiment={','.join([*names[:4], 'broken', *names[4:]])}",
        f"hydra.searchpath=[file://{sweep.folder / 'conf'}]",
        *("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"),
        *sweep.training(),
    ]
    chance, before = random.Random(0), {}
    for _ in range(3):
        process = sweep.command(*words)
        time.sleep(chance.uniform(20, 60))
        process.kill()
        process.communicate()
        after = sweep.completed()
        assert before.items() <= after.items()  # nothing was done twice
        before = after
    process = sweep.command(*words)
    out, err = process.communicate(timeout=900)
    assert process.returncode == 1
    result = json.loads(out.splitlines()[-1])
    assert (result["status"], result["jobs"], result["completed"]) == ("failed", 9, 8)
    assert "job 4 failed: process 1 (0 to 1) failed: RuntimeError: broken on purpose" in out
    assert len(sweep.completed()) == 8 and before.items() <= sweep.completed().items()

    before = sweep.completed()
    (sweep.folder / "mended").touch()
    process = sweep.command(*words)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0 and "8 of 9 jobs are completed and skipped" in err, err
    assert err.count("started ") == 1 and before.items() <= sweep.completed().items() and len(sweep.completed()) == 9


def test_the_progress_line_shows_no_json(tmp_path: Path):
    log = tmp_path / "log.txt"
    for size in (1, 10_000, 100_000):  # the last is longer than what is read
        log.write_text(f'step 8  val/loss 4.1\n{{"status": "interrupted", "cost": "{"x" * size}"}}\n')
        assert last_line(log) == ("step 8 val/loss 4.1" if size < 100_000 else "")
    assert last_line(tmp_path / "none.txt") == ""
