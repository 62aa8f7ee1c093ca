"""Several processes: the same training as in one, and one end for all of them."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hydra import compose, initialize_config_dir
from listening_sockets import listening, open_to_the_network
from safetensors.torch import load_file
from small_words import SMALL

from smallgpt.errors import UserError
from smallgpt.launch.config_files import CONF
from smallgpt.launch.loading import load_settings
from smallgpt.ranks import is_first_process, job_command, started_by
from smallgpt.results import read_result
from smallgpt.run_directory import write_config
from smallgpt.tasks import train
from smallgpt.training.launcher import has_waited

pytestmark = [
    pytest.mark.ddp,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

RUN = CONF.parent / "run.py"
STEPS = 200
TRAINING = [
    *(
        "model.n_layer=2",
        f"budget.tokens={512 * STEPS}",
        "validation.every=20",
        "log_every=1",
        "validation.tokens=2000",
        "validation.final_tokens=2000",
    ),
    *("trainer.precision=fp32", "resume=auto", "optimizer=adamw", "optimizer.lr=1e-3"),
]
TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.threads=1"]
VARIANTS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
CLOCKS = ("seconds", "speed/tokens_per_second", "speed/mfu")
TOLERANCE = 1e-4


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What all runs have in common, text and cache included."""
    root = tmp_path_factory.mktemp("ddp")
    (root / "text").mkdir()
    for number in range(40):
        lines = [f"line {number * line % 97} of document {number}" for line in range(20)]
        (root / "text" / f"{number}.txt").write_text("\n".join(lines))
    data = ["data=files", f"data.path={root / 'text'}", "data.holdout=0.2", f"cache_dir={root / 'cache'}"]
    return [*data, *SMALL, *TRAINING]


@pytest.fixture
def alone(words: list[str]) -> Callable[..., dict[str, Any]]:
    """Trains in this process."""

    def run(run_dir: Path, *options: str) -> dict[str, Any]:
        return train.run(load_settings(composed(*words, *options)), run_dir)

    return run


@pytest.fixture
def started(words: list[str]) -> Any:
    """Starts run.py in two processes, with its output in files; whatever is left at the end of a test is ended."""
    running: list[subprocess.Popen] = []

    def start(run_dir: Path, *options: str) -> subprocess.Popen:
        return begin([sys.executable, str(RUN), *words, *TWO, *options, f"hydra.run.dir={run_dir}"], run_dir)

    def begin(command: list[str], run_dir: Path) -> subprocess.Popen:
        run_dir.parent.mkdir(parents=True, exist_ok=True)
        out, err = (run_dir.with_suffix(suffix).open("wb") for suffix in (".out", ".err"))
        env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
        env["PYTHONPATH"] = str(CONF.parent)
        running.append(subprocess.Popen(command, stdout=out, stderr=err, env=env, start_new_session=True))
        return running[-1]

    start.command = begin
    yield start
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def composed(*options: str) -> Any:
    with initialize_config_dir(str(CONF), version_base=None):
        return compose("config", overrides=list(options))


def rows(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def far(a: Path, b: Path) -> float:
    """The largest difference of two runs' losses and gradient norms, at any step."""
    one, other = rows(a), rows(b)
    assert [row["step"] for row in one] == [row["step"] for row in other]
    names = ("train/loss", "train/grad_norm", "val/loss")
    return max(
        abs(float(x[name]) - float(y[name])) for x, y in zip(one, other, strict=True) for name in names if x[name]
    )


def finished(process: subprocess.Popen, run_dir: Path, code: int = 0) -> dict[str, Any]:
    """The result of a run, which is also the last line on standard output."""
    assert process.wait(200) == code, run_dir.with_suffix(".err").read_text()
    out = run_dir.with_suffix(".out").read_text()
    result = read_result(run_dir)
    assert result == json.loads(out.splitlines()[-1])
    assert out.count('"status"') == 1
    return result


def wait_for_step(run_dir: Path, step: int, process: subprocess.Popen) -> None:
    """Returns once a run has recorded a step and has a checkpoint."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (run_dir / "checkpoints" / "last.ckpt").exists() and any(
            row["step"].isdecimal() and int(row["step"]) >= step for row in rows(run_dir)
        ):
            return
        assert process.poll() is None, run_dir.with_suffix(".err").read_text()
        time.sleep(0.02)
    raise AssertionError("no step")


def children(process: subprocess.Popen) -> list[int]:
    """The processes that a run has started and that are alive."""
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in found if alive(int(pid))]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone_within(pids: list[int], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(alive, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class Killed(BaseException):
    """Nobody catches it, as nobody catches kill -9."""


@pytest.mark.slow
def test_two_processes_train_as_one_and_told_to_stop_go_on_in_the_same_bits(alone, started, tmp_path):
    two = tmp_path / "two"
    process = started(two)
    expected = alone(tmp_path / "one")
    result = finished(process, two)
    assert far(tmp_path / "one", two) < TOLERANCE
    assert len(rows(two)) == STEPS + STEPS // 20
    assert result["val"]["loss"] == pytest.approx(expected["val"]["loss"], abs=TOLERANCE)
    last = [row for row in rows(two) if row["val/loss"]][-1]  # half of the windows in each process
    assert float(last["val/bits_per_byte"]) == pytest.approx(result["val"]["bits_per_byte"], rel=2e-6)
    assert result["status"] == "completed" and result["train"]["tokens"] == 512 * STEPS
    assert {path.name for path in two.iterdir()} == {"config.yaml", "metrics.csv", "result.json", "checkpoints"}
    assert {path.name for path in (two / "checkpoints").iterdir()} == {"best", "last", "last.ckpt"}
    # one process speaks, and says nothing of the libraries'
    lines = two.with_suffix(".err").read_text().splitlines()
    own = ("val/loss", "tokens/s", "text", "expected time")
    assert [line for line in lines if not any(words in line for words in own)] == []
    assert sum("val/loss" in line for line in lines) == STEPS // 20

    stopped_and_resumed(started, tmp_path / "halves")
    assert bits(tmp_path / "halves") == bits(two)


@pytest.mark.slow
def test_one_goes_on_as_two_that_end_together_and_one_again(alone, started, tmp_path, monkeypatch, words):
    from smallgpt.training.metrics import Recorder

    alone(tmp_path / "one")
    record = Recorder.on_train_batch_end

    def kill(self, trainer, module, *rest):
        record(self, trainer, module, *rest)
        if trainer.global_step == 50:
            raise Killed

    job = tmp_path / "job"
    monkeypatch.setattr(Recorder, "on_train_batch_end", kill)
    with pytest.raises(Killed):
        alone(job)
    monkeypatch.undo()
    # as a sweep starts its jobs
    write_config(job, load_settings(composed(*words, *TWO)).plain)
    (job / ".job.json").write_text(json.dumps({"overrides": [], "choices": {"model": "gpt"}}))
    process = started.command(job_command(job), job)
    wait_for_step(job, 75, process)
    others = children(process)
    assert len(others) == 1
    process.kill()
    assert gone_within(others, 60)
    alone(job)
    assert far(tmp_path / "one", job) < TOLERANCE


@pytest.mark.slow
def test_a_dead_process_ends_the_run(started, tmp_path):
    run = tmp_path / "run"
    process = started(run)
    wait_for_step(run, 25, process)
    os.kill(children(process)[0], signal.SIGKILL)
    assert process.wait(90) == 1  # seconds on a quiet machine
    result = finished(process, run, 1)
    assert result["status"] == "failed"
    assert "SIGKILL" in result["error"] and "resume=auto" in result["error"]


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_run_after_a_stated_time(started, tmp_path):
    run = tmp_path / "run"
    process = started(run, "trainer.timeout=20")
    wait_for_step(run, 25, process)
    other = children(process)[0]
    os.kill(other, signal.SIGSTOP)
    assert process.wait(150) == 1
    result = finished(process, run, 1)
    assert result["error"].startswith("trainer.timeout: another process did not answer for so long")
    assert gone_within([other], 30)


def test_a_process_that_cannot_start_ends_the_run(alone, tmp_path):
    # there is no config.yaml for it to read
    with pytest.raises(UserError, match=r"^process 1 \(0 to 1\) failed: .*config.yaml"):
        alone(tmp_path, *TWO)
    assert not {"LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"} & os.environ.keys()


def bits(run_dir: Path) -> list[Any]:
    """All that a clock did not measure."""
    table = [{k: v for k, v in row.items() if k not in CLOCKS} for row in rows(run_dir)]
    return [table, *((run_dir / "checkpoints" / name / "model.safetensors").read_bytes() for name in ("best", "last"))]


def stopped_and_resumed(started: Any, run_dir: Path, *options: str) -> None:
    process = started(run_dir, *options)
    wait_for_step(run_dir, 25, process)
    others = children(process)
    assert listening(process.pid) and not open_to_the_network(process.pid)
    process.terminate()
    result = finished(process, run_dir, 128 + signal.SIGTERM)
    assert result["status"] == "interrupted" and gone_within(others, 60)
    assert run_dir.with_suffix(".err").read_text().count("error: ") == 1
    assert len(rows(run_dir)) < STEPS
    finished(started(run_dir, *options), run_dir)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_dropout_differs_between_processes_and_goes_on_in_the_same_bits(started, tmp_path):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    three = ["model.dropout=0.2", "trainer.devices=3", "batch.tokens=768"]
    stopped_and_resumed(started, halves, *three)
    finished(started(whole, *three), whole)
    assert bits(whole) == bits(halves)
    states = torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)["random_states"]
    assert len({state["torch"].numpy().tobytes() for state in states}) == 3


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains_as_in_one_process(alone, started, tmp_path, variant, strategy):
    options = [f"model={variant}", "model.allow_narrow=true", "model.n_embd=64", "model.n_layer=4"]
    one, two = tmp_path / "one", tmp_path / "two"
    alone(one, *options)
    finished(started(two, *options, f"trainer.strategy={strategy}"), two)
    difference = far(one, two)
    print(f"{variant} {strategy}: {difference:.2e}")
    assert difference < TOLERANCE
    weights = [load_file(d / "checkpoints" / "last" / "model.safetensors") for d in (one, two)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.allclose(weights[0][key], weights[1][key], atol=1e-3) for key in weights[0])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_sharded_runs_go_on_in_one_process_and_back(alone, started, tmp_path, optimizer):
    one, cut = tmp_path / "one", tmp_path / "cut"
    alone(one, f"optimizer={optimizer}")
    process = started(cut, "trainer.strategy=fsdp", f"optimizer={optimizer}")
    wait_for_step(cut, 45, process)
    process.terminate()
    finished(process, cut, 128 + signal.SIGTERM)
    back = tmp_path / "back"
    shutil.copytree(cut, back)
    alone(cut, f"optimizer={optimizer}")
    assert far(one, cut) < TOLERANCE
    finished(started(back, "trainer.strategy=fsdp", f"optimizer={optimizer}"), back)
    assert far(one, back) < TOLERANCE


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_torchrun_starts_the_processes(words, alone, started, tmp_path):
    run = tmp_path / "run"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = started.command([*torchrun, str(RUN), *words, *TWO, f"hydra.run.dir={run}"], run)
    alone(tmp_path / "one")
    finished(process, run)
    assert far(tmp_path / "one", run) < TOLERANCE


def test_a_process_knows_its_place(monkeypatch):
    assert is_first_process() and started_by() is None
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not is_first_process()
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "2", "LOCAL_RANK": "0", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert started_by() == ("torchrun", 2, 4) and not is_first_process()
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    assert started_by() == ("srun", 0, 4) and is_first_process()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["trainer.devices=3"], r"^batch.tokens=512: .* model.block_size \* trainer.devices = 96"),
        (["trainer.num_nodes=3"], r"^batch.tokens=512: .* trainer.devices \* trainer.num_nodes = 192"),
        (["trainer.num_nodes=2"], "^trainer.num_nodes=2: start it with torchrun or srun"),
        (["trainer=fsdp", "compile=true"], "^trainer.strategy=fsdp: compile=true"),
    ],
)
def test_what_cannot_work_is_refused(alone, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        alone(tmp_path, *TWO, *options)


def test_processes_that_nobody_asked_for_are_refused(alone, tmp_path, monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"^trainer.devices=2: torchrun started 4 processes"):
        alone(tmp_path, *TWO)


def test_only_the_process_groups_own_timeout_is_called_one():
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(milliseconds=20))
    with pytest.raises(dist.DistStoreError) as waited:
        store.get("nothing")
    gloo = RuntimeError("[gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 20000ms for recv operation")
    assert has_waited(waited.value) and has_waited(gloo)
    for other in (RuntimeError("DataLoader timed out after 5 seconds"), TimeoutError("the read operation timed out")):
        assert not has_waited(other)
