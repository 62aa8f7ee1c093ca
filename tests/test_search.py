"""Searches with Optuna as a user starts them, stops them and starts them again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

optuna = pytest.importorskip("optuna")

RUN = Path(__file__).parents[1] / "run.py"
WORK = '''
"""Tasks that take no time and have a loss that is least at dropout 0.1 and top_k 5."""
import os, signal, time
from pathlib import Path

def note(name, run_dir):
    with open(name, "a") as file:
        file.write(run_dir.name + " ")

def loss(settings):
    return 1 + abs(settings.model.dropout - 0.1) + 0.01 * abs((settings.generation.top_k or 5) - 5)

def quick(settings, run_dir):
    note("begun", run_dir)
    time.sleep(float(os.environ.get("WORK_SECONDS", 0)))
    note("completed", run_dir)
    return {"val": {"loss": loss(settings)}}

def broken(settings, run_dir):
    note("begun", run_dir)
    if run_dir.name == "1" and not Path("mended").exists():
        raise RuntimeError("no more of this")
    note("completed", run_dir)
    return {"val": {"loss": loss(settings)}}
'''


class Folder:
    """Where searches are started: `hydra.sweep.dir` is its folder `sweep`."""

    def __init__(self, path: Path):
        self.path, self.sweep_dir = path, path / "sweep"
        (path / "work.py").write_text(WORK)
        self.env = os.environ | {"PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
        self.env.pop("HYDRA_FULL_ERROR", None)

    def start(self, *words: str, **env: str) -> subprocess.Popen:
        fixed = ["-m", "hydra/sweeper=optuna", "hydra.sweep.dir=sweep", "task._target_=work.quick"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [sys.executable, str(RUN), *fixed, *words]
        return subprocess.Popen(command, cwd=self.path, env=self.env | env, **pipes)

    def search(self, *words: str, code: int = 0, **env: str) -> tuple[dict[str, Any], str]:
        """The last line on standard output, and standard error."""
        process = self.start(*words, **env)
        out, err = process.communicate(timeout=300)
        assert process.returncode == code, out + err
        return json.loads(out.splitlines()[-1]), err

    def jobs(self) -> list[str]:
        return sorted((path.name for path in self.sweep_dir.iterdir() if path.is_dir()), key=int)

    def words(self) -> list[list[str]]:
        """What each job was composed with, of what is searched over."""
        results = [json.loads((self.sweep_dir / job / "result.json").read_text()) for job in self.jobs()]
        return [[word for word in result["overrides"] if not word.startswith("task.")] for result in results]

    def lines(self, name: str) -> Counter:
        return Counter((self.path / name).read_text().split() if (self.path / name).exists() else [])


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


MIXED = (
    "model=gpt,lineargpt",
    "model.dropout=interval(0,0.5)",
    "generation.top_k=range(1,10,2)",
    "optimizer.lr=tag(log,interval(1e-4,1e-2))",
    "seed=3",
)


def test_choices_whole_numbers_and_intervals_in_numbered_directories(folder):
    result, err = folder.search(*MIXED, "hydra.sweeper.n_trials=6", "hydra.launcher.n_jobs=2")
    assert folder.jobs() == list("012345") and result["completed"] == 6
    assert "6 of 6 trials, best val.loss 1." in err and "[I " not in err and "Warning" not in err
    for model, dropout, top_k, lr, seed in folder.words():
        assert model in ("model=gpt", "model=lineargpt") and seed == "seed=3"
        assert 0 <= float(dropout.removeprefix("model.dropout=")) <= 0.5
        assert int(top_k.removeprefix("generation.top_k=")) in (1, 3, 5, 7, 9)
        assert 1e-4 <= float(lr.removeprefix("optimizer.lr=")) <= 1e-2

    result, err = folder.search(*MIXED, "hydra.sweeper.n_trials=7")
    assert result["jobs"] == result["completed"] == 7 and "6 of 6 jobs are completed and skipped" in err
    assert folder.lines("begun") == {str(job): 1 for job in range(7)}
