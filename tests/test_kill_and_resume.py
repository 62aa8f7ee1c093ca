"""The short form of `python -m benchmarks.kill_and_resume`."""

import pytest

from benchmarks.kill_and_resume import compare


@pytest.mark.timeout(900)  # five whole runs, each with its start-up
def test_a_killed_run_ends_in_the_same_bits(tmp_path):
    text = "\n\n".join(f"Sentence {i} of a text with {i % 7} words and {i % 11} others." for i in range(4000))
    (tmp_path / "text.txt").write_text(text)
    words = ["data=files", f"data.path={tmp_path / 'text.txt'}", "tokenizer.vocab_size=300", "budget.tokens=60000"]
    assert compare(tmp_path, kills=3, words=words) == []
