"""A full disk, too little memory, a signal before the first step: a sentence, a result, and whole checkpoints."""

import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN = Path(__file__).parents[1] / "run.py"
WORDS = [
    "block=gpt2",
    "optimizer=adamw",
    "size=debug",
    "tokenizer.vocab_size=300",
    "batch.tokens=512",
    "budget.tokens=20000",
    "validation.every=10",
]
MOUNT = "mount -t tmpfs -o size={size} tmpfs {folder} && "


@pytest.fixture
def start(tmp_path):
    """A run in a subprocess, and its run directory's name."""
    text = "\n\n".join(f"Sentence {i} of a text with {i % 7} words and {i % 11} others." for i in range(2000))
    (tmp_path / "text.txt").write_text(text)
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    env.pop("HYDRA_FULL_ERROR", None)

    def start(*words: str, shell: str = "", **options) -> subprocess.Popen:
        data = ["data=files", "data.path=text.txt", "cache_dir=cache", "hydra.run.dir=run/it"]
        command = [sys.executable, str(RUN), *WORDS, *data, *words]
        if shell:
            command = [
                "unshare",
                "-rm",
                "sh",
                "-c",
                f"{shell} {shlex.join(command)}; code=$?; cp -r run kept; exit $code",
            ]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=tmp_path, env=env, **pipes, **options)

    return start


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.parametrize(  # full at the first model, at the first state, later
    "size", [pytest.param(size, marks=pytest.mark.slow) for size in ("2m", "5m", "7m")]
)
def test_a_full_disk_is_one_sentence_and_leaves_what_was_saved(start, tmp_path, size):
    if not can_mount():
        pytest.skip("a small disk cannot be mounted here")
    (tmp_path / "run").mkdir()
    process = start(shell=MOUNT.format(size=size, folder="run"))
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    message = "the disk is full; make room, then resume=auto goes on from the last checkpoint, if there is one"
    assert f"error: {message}" in err.splitlines() and "Traceback" not in err
    assert json.loads(out.splitlines()[-1])["error"] == message
    kept = tmp_path / "kept" / "it"
    assert not [path for path in kept.rglob(".*") if path.stat().st_size > 1000]
    if size == "7m":
        assert json.loads((kept / "result.json").read_text())["status"] == "failed"
        shutil.move(tmp_path / "kept", tmp_path / "more")
        process = start("hydra.run.dir=more/it", "resume=auto")
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert json.loads(out.splitlines()[-1])["train"]["steps"] == 40


@pytest.mark.slow
def test_too_little_memory_is_one_sentence(start, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))

    process = start("model.n_embd=3072", "model.n_head=16", preexec_fn=limit)  # 7 GB; the machine has as much
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err.splitlines()[-1].startswith("error: out of memory; a smaller batch.micro or model needs less"), err
    assert json.loads(out.splitlines()[-1])["status"] == "failed"


def test_a_signal_before_the_first_step_leaves_a_result(start, tmp_path):
    process = start()
    while not (tmp_path / "cache" / "prepared").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, err
    result = json.loads((tmp_path / "run/it/result.json").read_text())
    assert result["status"] == "interrupted" and result["error"].startswith("SIGTERM: stopped")
    assert json.loads(out.splitlines()[-1])["status"] == "interrupted"
