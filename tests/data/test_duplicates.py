"""Duplicates are left out before the split, and what of the held-out text is in the training text is measured."""

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_stories import story

from smallgpt.data import grams
from smallgpt.data.corpora import StandardLibrary
from smallgpt.data.duplicates import Seen, minima_of, minima_of_texts
from smallgpt.data.files import Files
from smallgpt.data.grams import word_grams
from smallgpt.data.overlap import LIMIT, OverlapMeter
from smallgpt.data.prepare import prepare
from smallgpt.data.prepared_data import PreparedData
from smallgpt.data.tokenizers import TrainedBPE
from smallgpt.errors import UserError

WORDS = [f"w{number}" for number in range(300)]


def text(seed: int, words: int = 120) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def rows(path: Path, texts: Sequence[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def prepared(path: Path, cache: Path, workers: int = 1, **settings: Any) -> PreparedData:
    return prepare(Files(path=str(path), **settings), TrainedBPE(vocab_size=300), cache / "cache", False, workers)


def documents(tokens: np.ndarray) -> list[bytes]:
    """What stands between the ends of text, which have the id 0."""
    return [part.tobytes() for part in np.split(tokens, np.flatnonzero(tokens == 0))[1:-1]]


def test_grams_are_runs_of_words() -> None:
    """Against tuples of words: equal where they are equal, different where they differ."""
    chance = random.Random(0)
    characters = [*"aAbB_12 \n\t.,'-(", "é", "É", "ß", "\u00a0", "“", "Ж"]
    for _ in range(200):
        sample = "".join(chance.choices(characters, k=chance.randrange(60)))
        words = re.findall(r"\w+", sample.lower())
        expected = [tuple(words[i : i + 3]) for i in range(len(words) - 2)]
        found = word_grams(sample, 3).tolist()
        assert len(found) == len(expected)
        assert [found.index(each) for each in found] == [expected.index(each) for each in expected]
    assert word_grams("One, TWO three", 3) == word_grams("x one two\nthree!", 3)[1:]
    assert len(word_grams("日本語のテキスト", 3)) == 6, "without spaces, a character is a word"
    assert word_grams("a b", 3).size == 0


def test_one_text_in_a_hundred_files_is_one_document(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(100):
        (folder / f"{number}.txt").write_text("the same text in every file\n" * 20)
    with pytest.raises(UserError, match="1 documents, without 99 duplicates, leave the training split empty"):
        prepared(folder, tmp_path)


def test_the_split_follows_the_text_not_the_name(tmp_path: Path) -> None:
    held_out = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        for number in range(60):
            (folder / f"{name if number % 2 else number}_{number}.txt").write_text(text(number))
        held_out.append(set(Files(path=str(folder), holdout=0.2).documents("validation")))
    assert held_out[0] == held_out[1] and len(held_out[0]) > 3


@pytest.mark.parametrize("workers", [1, 2])
def test_equal_documents_count_once(workers: int, tmp_path: Path) -> None:
    texts = [text(number) for number in range(100)]
    twice = random.Random(1).sample(texts * 2, k=200)
    data = prepared(rows(tmp_path / "a.jsonl", twice), tmp_path, workers, dedupe="exact", holdout=0.2)
    assert data.exact_duplicates == 100
    assert data.train_documents + data.validation_documents == 100
    every = documents(data.train()) + documents(data.validation())
    assert len(set(every)) == len(every) == 100
    assert data.overlap == 0


def test_nearly_equal_documents_stay_on_one_side(tmp_path: Path) -> None:
    texts = [text(number) for number in range(80)]
    near = [f"{each} And one sentence more, number {place}." for place, each in enumerate(texts)]
    path = rows(tmp_path / "a.jsonl", texts + near)
    exact = prepared(path, tmp_path, dedupe="exact", holdout=0.2)
    assert exact.overlap is not None and exact.overlap > 0.5
    assert "data.dedupe=near" in exact.warnings()[0]
    data = prepared(path, tmp_path, holdout=0.2)
    assert (data.dedupe, data.near_duplicates, data.overlap) == ("near", 80, 0)
    assert not data.warnings()


def test_what_training_covers_is_trained_on(tmp_path: Path) -> None:
    """Documents of one layout, each too different from any other to be a duplicate, are not held out."""
    table = text(1000, 400).split()
    parts = [" ".join(table[start : start + 60]) for start in range(0, 400, 20)]
    chance = random.Random(2)
    tables = ["\n".join([text(number, 60), *chance.sample(parts, 4)]) for number in range(30)]
    texts = [text(number) for number in range(2000, 2300)]
    path = rows(tmp_path / "a.jsonl", tables + texts)
    before = prepared(path, tmp_path, dedupe="exact", holdout=0.2)
    data = prepared(path, tmp_path, holdout=0.2)
    assert before.overlap is not None and before.overlap > LIMIT
    assert data.overlap is not None and data.overlap < LIMIT
    assert data.moved_to_training > 0 == data.near_duplicates
    assert data.train_documents + data.validation_documents == 330


def test_given_splits_are_measured_and_left_as_they_are(tmp_path: Path) -> None:
    texts = [text(number) for number in range(100)]
    folder = tmp_path / "texts"
    folder.mkdir()
    rows(folder / "train.jsonl", texts)
    rows(folder / "validation.jsonl", [*texts[:20], *(text(number) for number in range(200, 220))])
    data = prepared(folder, tmp_path)
    assert (data.dedupe, data.train_documents, data.validation_documents) == ("none", 100, 40)
    assert data.overlap == 0.5
    assert "50.0% of the held-out 13-grams" in data.warnings()[0]
    clean = prepared(folder, tmp_path, dedupe="exact")
    assert (clean.train_documents, clean.validation_documents, clean.overlap) == (80, 40, 0)


def test_a_sample_of_the_grams_gives_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smallgpt.data.overlap.MOST_GRAMS", 1000)
    meter = OverlapMeter(1)
    for number in range(400):
        meter.add_training(word_grams(text(number), 13))
    for number in range(300, 500):
        meter.add_held_out(word_grams(text(number), 13))
    assert meter.share() == pytest.approx(0.5, abs=0.1)
    assert meter.every >= 32 and len(meter.training[0]) <= 1000


def test_hashes_seen_are_remembered_beyond_the_recent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smallgpt.data.duplicates.MERGE", 10)
    seen, chance = Seen(), np.random.default_rng(0)
    known: set[int] = set()
    for _ in range(50):
        hashes = chance.integers(0, 100, 7).astype(np.uint64)
        expected = []
        for number in hashes.tolist():
            expected.append(number not in known)
            known.add(number)
        assert seen.new(hashes).tolist() == expected


def test_a_new_document_moves_no_other(tmp_path: Path) -> None:
    before = Files(path=str(rows(tmp_path / "a.jsonl", [story(n) for n in range(50)])), holdout=0.2)
    after = Files(path=str(rows(tmp_path / "b.jsonl", [story(n) for n in range(60)])), holdout=0.2)
    for split in ("train", "validation"):
        assert set(before.documents(split)) <= set(after.documents(split))


@pytest.mark.slow
def test_the_default_corpus_holds_out_text_that_training_lacks(tmp_path: Path) -> None:
    """Recomputed from the tokens with words as tuples."""
    data = prepare(StandardLibrary(), TrainedBPE(), tmp_path, progress=False)
    assert data.overlap is not None and data.overlap < LIMIT
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(data.tokenizer_dir)

    def grams(tokens: np.ndarray) -> list[tuple[str, ...]]:
        found = []
        for document in np.split(tokens, np.flatnonzero(tokens == data.eos_id)):
            words = re.findall(r"\w+", tokenizer.decode(document[1:].tolist()).lower())
            found += [tuple(words[i : i + 13]) for i in range(len(words) - 12)]
        return found

    held_out = grams(data.validation())
    train = set(held_out) & set(grams(data.train()))
    assert sum(gram in train for gram in held_out) / len(held_out) == pytest.approx(data.overlap, abs=1e-4)


def test_texts_read_together_have_the_same_minima_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [
        *(text(n, 30) for n in range(40)),
        "",
        "four words are few",
        "ΣΑΣ Σ ΑΣ İ a b Σ",
        "日本語の文章です、はい",
        "a\ud800 b c d e f",
    ]
    texts.append(" ".join(texts[:3]))
    monkeypatch.setattr(grams, "PIECE_CHARACTERS", len(texts[0]) * 3)  # several texts at a time, and one alone
    places, minima = minima_of_texts(texts)
    alone = {place: found for place, text in enumerate(texts) if (found := minima_of(text)) is not None}
    assert places.tolist() == list(alone) and len(alone) < len(texts)
    assert np.array_equal(minima, np.stack(list(alone.values())))
