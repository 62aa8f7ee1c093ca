"""Words in free continuations, and the continuations of a tiny model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from smallgpt.data.tokenizers import TrainedBPE
from smallgpt.errors import UserError
from smallgpt.evaluation.continuations import continuations, distinct, hits, read_lines, score_continuations
from smallgpt.inference import decoding
from smallgpt.inference.generate import generate
from smallgpt.models.gpt import GPT, GPTConfig
from smallgpt.settings import Generation


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return TrainedBPE(vocab_size=280).build(
        ["The nurse said that she was late. The doctor said that he was late. " * 20]
    )


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> GPT:
    torch.manual_seed(0)
    shape = {"n_layer": 1, "n_head": 2, "n_embd": 32, "block_size": 32}
    return GPT(GPTConfig(vocab_size=320, bos_token_id=None, eos_token_id=tokenizer.eos_token_id, **shape)).train()


@pytest.mark.parametrize(
    ("text", "words", "found"),
    [
        ("and She left", ["she"], True),
        ("SHE", ["she"], True),
        ("ashen, sheep, fishe", ["she"], False),
        ("(she)", ["he", "she"], True),
        ("her_name", ["her"], False),
        ("in New\n  York.", ["new york"], True),
        ("Newyork, New, York", ["new york"], False),
        ("writes C++.", ["C++"], True),
        ("writes C++", ["c++"], True),
        ("writes C++x or AC++", ["C++"], False),
        ("a .NET thing", [".net"], True),
        ("anet", [".net"], False),
        ("Ärztin", ["ärztin"], True),
        ("Kinderärztin", ["ärztin"], False),
        ("", ["she"], False),
    ],
)
def test_whole_words(text: str, words: list[str], found: bool) -> None:
    assert hits(text, words) is found


def test_no_words_hit_nothing() -> None:
    with pytest.raises(ValueError, match="no words"):
        hits("any text", [" "])


def test_distinct() -> None:
    texts = ["a b A b", "a b"]
    assert distinct(texts, 1) == pytest.approx(2 / 6)
    assert distinct(texts, 2) == pytest.approx(2 / 4)  # ab, ba, ab; ab: none goes over the end of a text
    assert distinct(texts, 3) == 1
    assert distinct(texts, 5) is None and distinct([], 1) is None


def test_score() -> None:
    scores = score_continuations([["she ran", "he ran"], ["it ran", "it ran far"], ["she", ""]], ["she", "her"])
    assert scores["hit_rate"] == pytest.approx(2 / 6)
    assert scores["hit_rate_interval"] == pytest.approx([0.0968, 0.7000], abs=1e-4)
    assert (scores["n"], scores["prompts_with_a_hit"]) == (6, pytest.approx(2 / 3))
    assert scores["distinct_1"] == pytest.approx(5 / 10)
    assert scores["distinct_2"] == pytest.approx(4 / 5)
    assert scores["distinct_3"] == 1
    assert json.loads(json.dumps(scores)) == scores


def test_lines_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeffshe\r\n\n  \n The nurse \nC++".encode())
    assert read_lines(path, "eval.words") == ["she", " The nurse ", "C++"]


def test_files_without_lines(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    for content, fault in [(b" \n\n", "the file is empty"), (b"\xe9", "not UTF-8")]:
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"eval.words={path}: {fault}"):
            read_lines(path, "eval.words")
    with pytest.raises(UserError, match=r"eval.words=.*/word.txt: no such file; did you mean 'words.txt'\?"):
        read_lines(tmp_path / "word.txt", "eval.words")
    with pytest.raises(UserError, match="cannot be read"):
        read_lines(tmp_path, "eval.words")


def test_sampled_continuations(model: GPT, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "decoding_steps", None)  # on a GPU a graph would be recorded for each prompt
    settings = Generation(max_new_tokens=6, temperature=1.0)
    prompts = ["The nurse said", "", "The doctor"]
    before = torch.random.get_rng_state()
    texts = continuations(model, tokenizer, prompts, 4, settings, seed=1)
    assert torch.equal(before, torch.random.get_rng_state()) and model.training
    assert [len(some) for some in texts] == [4, 4, 4]
    assert len({text for some in texts for text in some}) > 6
    assert continuations(model, tokenizer, prompts, 4, settings, seed=1) == texts
    assert continuations(model, tokenizer, prompts, 4, settings, seed=2) != texts


def test_a_continuation_is_what_generate_adds(model: GPT, tokenizer: Any) -> None:
    settings, prompt = Generation(max_new_tokens=6, temperature=0), "The nurse said"
    [[text]] = continuations(model, tokenizer, [prompt], 1, settings, seed=1)
    assert text and [prompt + text] == generate(model, tokenizer, [prompt], settings, seed=5)


def test_what_gives_no_samples(model: GPT, tokenizer: Any) -> None:
    with pytest.raises(UserError, match=r"generation.temperature=0: greedy decoding gives one text, not 2"):
        continuations(model, tokenizer, ["The"], 2, Generation(temperature=0), seed=1)
    with pytest.raises(UserError, match="num_beams=2: beams are no independent samples"):
        continuations(model, tokenizer, ["The"], 2, Generation(num_beams=2), seed=1)


def test_a_prompt_as_long_as_the_context(model: GPT, tokenizer: Any) -> None:
    settings = Generation(max_new_tokens=6)
    with pytest.raises(UserError, match="40 tokens; the model's context has 32, so use at most 31"):
        continuations(model, tokenizer, ["The", "#" * 40], 2, settings, seed=1)
    [texts] = continuations(model, tokenizer, ["#" * 31], 2, settings, seed=1)
    assert len(texts) == 2
