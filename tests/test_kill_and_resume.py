"""The short form of `python -m benchmarks.kill_and_resume`, and the whole of it."""

import pytest

from benchmarks.kill_and_resume import compare


def test_a_killed_run_ends_in_the_same_bits(tmp_path):
    words = ["tokenizer.vocab_size=300", "budget.tokens=20000", "trainer.threads=1"]
    found, kills = compare(tmp_path, kills=5, words=words)
    assert not found and kills == 5


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_hundred_kills_in_every_phase_change_no_bit(tmp_path):
    found, kills = compare(tmp_path, kills=100, words=["tokenizer.vocab_size=300", "trainer.threads=1"])
    assert not found and kills >= 100
