"""Sweeps on Slurm and Ray as far as one machine can show: a small stand-in for Slurm, and a Ray of one node."""

import csv
import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from listening_sockets import listening, open_to_the_network

RUN = Path(__file__).parents[1] / "run.py"
FAKE = Path(__file__).parent / "fake_slurm.py"
WORDS = ["size=debug", "tokenizer.vocab_size=300", "batch.tokens=512", "validation.every=20", "log_every=1"]
SLOW = pytest.mark.slow
needs_submitit = pytest.mark.skipif(find_spec("submitit") is None, reason="submitit is not installed")
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")


class Cluster:
    """A folder with a corpus, in which sweeps run as subprocesses."""

    def __init__(self, folder: Path):
        self.folder = folder
        text = "\n\n".join(f"Sentence {i} of a text with {i % 7} words and {i % 11} others." for i in range(2000))
        (folder / "text.txt").write_text(text)
        self.programs = folder / "bin"
        self.programs.mkdir()
        (folder / "slurm").mkdir()
        self.env = os.environ | {"OMP_NUM_THREADS": "1", "FAKE_SLURM": str(folder / "slurm")}
        self.env["PATH"] = f"{self.programs}:{self.env['PATH']}"
        self.env.pop("HYDRA_FULL_ERROR", None)

    def with_slurm(self) -> "Cluster":
        FAKE.chmod(0o755)
        for name in ("sbatch", "srun", "sacct", "scancel", "scontrol"):
            (self.programs / name).symlink_to(FAKE)
        return self

    def start(self, *words: str) -> subprocess.Popen:
        data = ["data=files", "data.path=text.txt", "cache_dir=cache", "hydra.sweep.dir=sweep"]
        command = [sys.executable, str(RUN), "-m", *WORDS, *data, *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=self.folder, env=self.env, **pipes)

    def run(self, *words: str) -> tuple[int, str, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=400)
        return process.returncode, out, err

    def results(self) -> list[dict]:
        return [json.loads(path.read_text()) for path in sorted((self.folder / "sweep").glob("*/result.json"))]

    def wait_for(self, path: str, process: subprocess.Popen) -> None:
        while not (self.folder / path).exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


@pytest.mark.slow
@needs_submitit
def test_slurm_gets_one_array_and_a_repeated_command_submits_nothing(cluster):
    cluster.with_slurm()
    words = ["hydra/launcher=slurm", "seed=1,2", "budget.tokens=10000", "hydra.launcher.partition=small"]
    code, _, err = cluster.run(*words)
    assert code == 0, err
    assert [result["status"] for result in cluster.results()] == ["completed"] * 2
    scripts = list((cluster.folder / "slurm").glob("*.sh"))
    assert len(scripts) == 1
    text = scripts[0].read_text()
    for line in ("--array=0-1%2", "--partition=small", "--nodes=1", "--ntasks-per-node=1", "--signal=USR2@120"):
        assert f"#SBATCH {line}\n" in text
    assert "--kill-on-bad-exit=1" in text and "gpus" not in text

    code, _, err = cluster.run(*words)
    assert code == 0 and "2 of 2 jobs are completed and skipped" in err
    assert list((cluster.folder / "slurm").glob("*.sh")) == scripts


@pytest.mark.slow
@needs_submitit
def test_a_preempted_job_is_queued_again_and_goes_on_in_its_directory(cluster):
    cluster.with_slurm()
    process = cluster.start(
        "hydra/launcher=slurm", "budget.tokens=60000", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"
    )
    cluster.wait_for("sweep/0/checkpoints/last.ckpt", process)
    subprocess.run(["scancel", "100", "--signal", "SIGTERM"], env=cluster.env, check=True)  # as Slurm does
    subprocess.run(["scancel", "100", "--signal", "SIGUSR2"], env=cluster.env, check=True)
    _, err = process.communicate(timeout=400)
    log = (cluster.folder / "sweep/0/log.txt").read_text()
    assert process.returncode == 0, err + log
    assert "SIGUSR2: saved at step" in log
    [result] = cluster.results()
    assert result["status"] == "completed" and result["train"]["steps"] == 118
    with (cluster.folder / "sweep/0/metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert steps == sorted(set(steps)) and steps[-1] == 118


@pytest.mark.slow
@needs_submitit
def test_a_starter_that_is_gone_leaves_its_jobs_to_the_next(cluster):
    cluster.with_slurm()
    words = ["hydra/launcher=slurm", "budget.tokens=60000"]
    first = cluster.start(*words)
    cluster.wait_for("sweep/0/metrics.csv", first)
    first.terminate()
    _, err = first.communicate(timeout=60)
    assert first.returncode == 143 and "`scancel 100` ends them" in err
    code, _, err = cluster.run(*words)
    assert code == 0, err
    assert len(list((cluster.folder / "slurm").glob("*.sh"))) == 1
    assert [result["status"] for result in cluster.results()] == ["completed"]


@needs_submitit
@pytest.mark.parametrize(
    ("slurm", "words", "message"),
    [
        (False, [], "hydra/launcher=slurm: no sbatch here; start the sweep on a login node"),
        pytest.param(True, ["trainer=ddp"], "trainer.accelerator=auto: a login node cannot know", marks=SLOW),
        pytest.param(True, ["hydra.launcher.partitoin=x"], "partitoin=x: unknown key; did you mean", marks=SLOW),
        pytest.param(True, ["+hydra.launcher.partitoin=x"], "partitoin", marks=SLOW),
    ],
)
def test_what_slurm_cannot_do_is_refused_on_one_line(cluster, slurm, words, message):
    if slurm:
        cluster.with_slurm()
    code, _, err = cluster.run("hydra/launcher=slurm", *words)
    assert code == 1 and len(err.splitlines()) == 1 and message in err
    assert not (cluster.folder / "sweep").exists()


@pytest.mark.slow
@needs_ray
def test_ray_runs_the_jobs_and_skips_what_is_done(cluster):
    words = ["hydra/launcher=ray", "seed=1,2", "budget.tokens=5000"]
    code, out, err = cluster.run(*words)
    assert code == 0, err + out
    assert [result["status"] for result in cluster.results()] == ["completed"] * 2
    code, _, err = cluster.run(*words)
    assert code == 0 and "2 of 2 jobs are completed and skipped" in err


@pytest.mark.slow
@needs_ray
def test_ray_lets_a_job_save_before_it_ends(cluster):
    words = ["hydra/launcher=ray", "budget.tokens=200000"]
    process = cluster.start(*words)
    cluster.wait_for("sweep/0/checkpoints/last.ckpt", process)
    assert listening(process.pid) and not open_to_the_network(process.pid)
    process.terminate()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143, err
    [result] = cluster.results()
    assert result["status"] == "interrupted" and "saved at step" in result["error"]
