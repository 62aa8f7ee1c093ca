"""The short form of `python -m benchmarks.kill_and_resume`, and the whole of it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def kill_and_resume(folder: Path, kills: int) -> str:
    """What the command prints; in a process of its own, since forks of this one would lack its libraries' threads."""
    words = [f"--kills={kills}", f"--folder={folder / 'lives'}", "tokenizer.vocab_size=300", "trainer.threads=1"]
    if kills < 10:
        words.append("budget.tokens=20000")
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.kill_and_resume", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_a_killed_run_ends_in_the_same_bits(tmp_path):
    assert "3 kills: the same bits, and nothing left behind" in kill_and_resume(tmp_path, kills=3)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_hundred_kills_in_every_phase_change_no_bit(tmp_path):
    said = kill_and_resume(tmp_path, kills=100)
    assert int(said.splitlines()[-1].partition(" ")[0]) >= 100
