"""The prepared folder: its contents, its fingerprint, and what may happen while it is written."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from smallgpt.data import prepare as prepare_module
from smallgpt.data import token_files
from smallgpt.data.content_hash import content_hash
from smallgpt.data.corpora import Corpus
from smallgpt.data.files import Files
from smallgpt.data.prepare import data_fingerprint, prepare
from smallgpt.data.prepared_data import PreparedData, token_type
from smallgpt.data.tokenizers import Pretrained, TrainedBPE


def documents(tokens: np.ndarray, eos: int) -> list[list[int]]:
    assert tokens[0] == eos and tokens[-1] == eos
    ends = np.flatnonzero(tokens == eos)
    return [tokens[start + 1 : end].tolist() for start, end in pairwise(ends)]


def test_tokens_are_the_documents(prepared: PreparedData, stories: list[str]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(prepared.tokenizer_dir)
    train = [tokenizer.decode(ids) for ids in documents(prepared.train(), prepared.eos_id)]
    held = [tokenizer.decode(ids) for ids in documents(prepared.validation(), prepared.eos_id)]
    assert sorted(train + held) == sorted(stories)
    assert not set(train) & set(held)
    assert len(train) == prepared.train_documents and len(held) == prepared.validation_documents
    assert prepared.train_tokens == len(prepared.train())
    assert prepared.validation_tokens == len(prepared.validation())
    assert prepared.train_bytes == sum(len(text.encode()) for text in train)
    for count in (1, 5, len(held)):
        size = sum(len(ids) + 1 for ids in documents(prepared.validation(), prepared.eos_id)[:count])
        text_bytes = sum(len(text.encode()) for text in held[:count])
        assert prepared.held_out(size) == (count, size, text_bytes)
        if count > 1:
            assert prepared.held_out(size - 1)[0] == count - 1
    assert prepared.held_out(1)[0] == 1
    assert prepared.held_out()[2] == prepared.validation_bytes


def test_a_test_split_is_kept_beside_the_others(stories: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "text"
    for name, texts in (("train", stories[:100]), ("validation", stories[100:130]), ("test", stories[130:170])):
        (folder / name).mkdir(parents=True)
        for number, text in enumerate(texts):
            (folder / name / f"{number}.txt").write_text(text)
    (folder / "test" / "twice.txt").write_text(stories[0])  # of the training text
    corpus, tokenizer = Files(path=str(folder), dedupe="exact"), TrainedBPE(vocab_size=400)
    data = prepare(corpus, tokenizer, tmp_path / "cache", progress=False, workers=1)
    decode = AutoTokenizer.from_pretrained(data.tokenizer_dir).decode
    found = data.held_out_documents(split="test")
    texts = [decode(ids) for ids, _ in found]
    assert sorted(texts) == sorted([*stories[130:170], stories[0]])
    assert [size for _, size in found] == [len(text.encode()) for text in texts]
    assert (data.test_documents, data.test_bytes) == (41, sum(len(text.encode()) for text in texts))
    assert (data.train_documents, data.validation_documents, data.exact_duplicates) == (99, 30, 1)
    assert data.held_out(1, "test")[0] == 1 and data.held_out()[0] == 30


def test_index_says_what_it_is(prepared: PreparedData) -> None:
    index = json.loads((prepared.directory / "index.json").read_text())
    assert index["fingerprint"] == prepared.fingerprint
    assert prepared.directory.name == f"{prepared.name}-{prepared.fingerprint}"
    assert index["tokenizer"] == {"vocab_size": 400}
    assert index["origin"]["source"]


def test_large_vocabularies_take_four_bytes() -> None:
    assert token_type(1 << 16) is np.uint16
    assert token_type((1 << 16) + 1) is np.uint32


def test_two_workers_write_what_one_writes(prepared: PreparedData, tmp_path: Path) -> None:
    corpus = Files(path=json.loads((prepared.directory / "index.json").read_text())["data"]["path"])
    corpus = corpus.model_copy(update={"holdout": 0.1})
    other = prepare(corpus, TrainedBPE(vocab_size=400), tmp_path, progress=False, workers=2)
    assert other.fingerprint == prepared.fingerprint
    for name in ("train.bin", "validation.bin", "validation_ends.npy", "validation_bytes.npy"):
        assert (other.directory / name).read_bytes() == (prepared.directory / name).read_bytes()


def folder_of(path: Path, stories: list[str]) -> Path:
    path.mkdir()
    for number, text in enumerate(stories):
        (path / f"{number}.txt").write_text(text)
    return path


def test_fingerprint_follows_text_and_options(stories: list[str], tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", stories[:20])
    same = folder_of(tmp_path / "b", stories[:20])
    corpus, tokenizer = Files(path=str(folder)), TrainedBPE(vocab_size=400)

    def mark(corpus: Corpus = corpus, tokenizer: TrainedBPE | Pretrained = tokenizer) -> str:
        return data_fingerprint(corpus, tokenizer, tmp_path)

    original = mark()
    assert mark(Files(path=str(same))) == original
    assert mark(Files(path=str(folder), holdout=0.2)) != original
    assert mark(tokenizer=TrainedBPE(vocab_size=401)) != original
    (folder / "7.txt").rename(folder / "validation.txt")
    assert mark() != original
    (folder / "validation.txt").rename(folder / "7.txt")
    assert mark() == original
    text = (folder / "7.txt").read_text()
    (folder / "7.txt").write_text(text.swapcase())  # of the same size
    assert mark() != original


def test_hash_of_a_large_file_is_remembered_but_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smallgpt.data.content_hash.SMALL_BYTES", 10)
    path, cache = tmp_path / "a.txt", tmp_path / "cache"
    path.write_text("x" * 100)
    first = content_hash(path, cache)
    assert not cache.exists(), "a file that young may still change within its time stamp"
    monkeypatch.setattr("smallgpt.data.content_hash.SETTLED_SECONDS", -1)
    assert content_hash(path, cache) == first
    monkeypatch.setattr("smallgpt.data.content_hash.hash_of", lambda path: "read again")
    assert content_hash(path, cache) == first
    [record] = (cache / "hashes").iterdir()
    for damage in ("", first[:20]):
        record.write_text(damage)
        assert content_hash(path, cache) == "read again"
    before = path.stat()
    path.write_text("y" * 100)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert content_hash(path, cache) == "read again"


PREPARE = """
import sys, time
from pathlib import Path
from smallgpt.data import pipeline, prepare as module
from smallgpt.data.files import Files
from smallgpt.data.tokenizers import TrainedBPE
folder, cache, delay, go = sys.argv[1:]
encode, build = pipeline.PartEncoder.__call__, module._build
def slowly(self, part):
    time.sleep(float(delay))
    return encode(self, part)
def counted(*args):
    print("BUILT", flush=True)
    build(*args)
pipeline.PartEncoder.__call__, module._build = slowly, counted
print("READY", flush=True)
while not Path(go).exists():
    time.sleep(0.01)
prepared = module.prepare(Files(path=folder), TrainedBPE(vocab_size=300), cache, False, 2)
print(prepared.fingerprint)
"""


def start(folder: Path, cache: Path, delay: float, go: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PREPARE, str(folder), str(cache), str(delay), str(go)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_killed_half_way_then_done(story_folder: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.touch()
    cache = tmp_path / "cache"
    process = start(story_folder, cache, 60, go)
    wait_for(lambda: list(cache.glob("prepared/*.partial/train.bin")))
    wait_for(lambda: len(children(process.pid)) == 2)
    workers = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(cache.glob("prepared/*/index.json"))
    wait_for(lambda: not any(alive(pid) for pid in workers), 5)
    began = time.monotonic()
    prepared = prepare(Files(path=str(story_folder)), TrainedBPE(vocab_size=300), cache, False, 1)
    assert time.monotonic() - began < 5, "the lock of a dead process must not block"
    assert prepared.train_documents + prepared.validation_documents == 200
    assert not list(cache.glob("prepared/*.partial"))


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_two_at_once_prepare_once(story_folder: Path, tmp_path: Path) -> None:
    go, cache = tmp_path / "go", tmp_path / "cache"
    both = [start(story_folder, cache, 0.5, go) for _ in range(2)]
    for process in both:
        assert process.stdout and process.stdout.readline() == "READY\n"
    go.touch()
    outcomes = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], outcomes
    printed = [line for out, _ in outcomes for line in out.split()]
    assert printed.count("BUILT") == 1
    assert len(set(printed) - {"BUILT"}) == 1, "both must get the same data"
    assert sum("waiting for another process" in err for _, err in outcomes) == 1


def test_failure_leaves_nothing(story_folder: Path, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(token_files, "write_split", fail)
        prepare(Files(path=str(story_folder)), TrainedBPE(vocab_size=300), tmp_path, False, 1)
    assert [path.suffix for path in (tmp_path / "prepared").iterdir()] in ([], [".lock"])


def test_prepared_once_reads_no_text_again(
    prepared: PreparedData, story_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_module, "_build", None)
    cache = prepared.directory.parent.parent
    corpus = Files(path=str(story_folder), holdout=0.1)
    assert prepare(corpus, TrainedBPE(vocab_size=400), cache, False) == prepared


@pytest.mark.slow
def test_real_corpus(real_data: Path, tmp_path: Path) -> None:
    corpus = Files(path=str(real_data / "corpora" / "classic-books"))
    tokenizer = Pretrained(name=str(real_data / "gpt2_tokenizer"), vocab_size=50257)
    prepared = prepare(corpus, tokenizer, tmp_path, progress=False)
    assert (prepared.train_documents, prepared.validation_documents) == (2462, 84)
    assert (prepared.train_bytes, prepared.validation_bytes) == (37_282_661, 1_150_494)
    assert 8.9e6 < prepared.train_tokens < 9.0e6
