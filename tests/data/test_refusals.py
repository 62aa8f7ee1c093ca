"""Whatever a user can get wrong is one line that says what would be right."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from smallgpt.data.corpora import Corpus
from smallgpt.data.datamodule import TokenDataModule
from smallgpt.data.files import Files
from smallgpt.data.prepare import prepare
from smallgpt.data.prepared_data import PreparedData
from smallgpt.data.tokenizers import Pretrained, TrainedBPE
from smallgpt.errors import UserError


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


def check(path: Path | None, **settings: str) -> str:
    return refusal(Files(path=path and str(path), **settings).check)


def rows_file(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_no_path() -> None:
    assert "data.path=null" in check(None)


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "stories.txt").write_text("text")
    message = check(tmp_path / "storys.txt")
    assert f"data.path={tmp_path / 'storys.txt'}: no such file" in message
    assert "stories.txt" in message


@pytest.mark.parametrize("content", [b"", b"  \n\n"])
def test_empty_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    assert "a.txt: " in check(path)


def test_empty_compressed_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b""))
    assert "holds no text" in check(path)


def test_folder_without_files(tmp_path: Path) -> None:
    assert "no text files" in check(tmp_path)


def test_folder_without_training_files(tmp_path: Path) -> None:
    (tmp_path / "validation.txt").write_text("text")
    assert "nothing to train on" in check(tmp_path)


@pytest.mark.parametrize("content", [b"PK\x00\x01", b"\xff\xfe text", b"caf\xe9 au lait"])
def test_binary_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content * 20)
    assert "not UTF-8 text" in check(path)
    (tmp_path / "b.txt").write_text("text")
    assert str(path) in check(tmp_path)


@pytest.mark.parametrize("name", ["a.gz", "a.zst", "a.parquet", "a.jsonl"])
def test_file_that_is_not_what_its_name_says(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("plain text\n" * 100)
    assert str(path) in check(path)


def test_unknown_field(tmp_path: Path) -> None:
    lines = rows_file(tmp_path / "a.jsonl", [{"id": 1, "context": "x"}])
    assert "context" in check(lines)
    assert "did you mean 'context'" in check(lines, field="contex")
    table = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"id": [1], "context": ["x"]}), table)
    assert "did you mean 'context'" in check(table, field="contex")
    assert "not text" in check(table, field="id")
    assert "not text" in check(lines, field="id")


def test_bad_row_in_the_middle_is_found_while_preparing(tmp_path: Path) -> None:
    good: list[object] = [{"text": f"text {number}"} for number in range(5000)]
    path = rows_file(tmp_path / "a.jsonl", [*good, {"txt": "x"}])
    corpus = Files(path=str(path))
    corpus.check()
    for workers in (1, 2):
        message = refusal(
            lambda workers=workers: prepare(corpus, TrainedBPE(vocab_size=300), tmp_path / "cache", False, workers)
        )
        assert "data.field=text: no such field" in message
    assert not list((tmp_path / "cache" / "prepared").glob("a-*[!k]"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("text")
    path.chmod(0)
    assert "may not be read" in check(path)
    folder = tmp_path / "folder"
    folder.mkdir(mode=0)
    assert "may not be read" in check(folder)


def test_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    assert f"data.path={tmp_path}: the folder may not be read" in check(tmp_path)


def test_too_few_documents_to_hold_any_out(tmp_path: Path) -> None:
    corpus: Corpus = Files(path=str(rows_file(tmp_path / "a.jsonl", [{"text": "x"}])))
    message = refusal(lambda: prepare(corpus, TrainedBPE(), tmp_path / "cache", False, 1))
    assert "validation split empty" in message and "data.holdout=0.05" in message


def test_cache_that_cannot_be_a_folder(story_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    corpus = Files(path=str(story_folder))
    message = refusal(lambda: prepare(corpus, TrainedBPE(), tmp_path / "file", False, 1))
    assert message.startswith("cache_dir=")


def test_text_shorter_than_a_window(prepared: PreparedData) -> None:
    size = prepared.train_tokens
    message = refusal(lambda: TokenDataModule(prepared, size, 1, seed=0))
    assert f"data={prepared.name}" in message and f"model.block_size={size}" in message
    TokenDataModule(prepared, size - 1, 1, seed=0)


def test_tokenizers(tmp_path: Path) -> None:
    assert "no such folder" in refusal(Pretrained(name="./nowhere").check)
    assert "no tokenizer in this folder" in refusal(Pretrained(name=str(tmp_path)).check)
    (tmp_path / "vocab.json").write_text("{}")
    assert "merges.txt" in refusal(lambda: Pretrained(name=str(tmp_path)).build([]))


def test_wrong_vocabulary_size(prepared: PreparedData) -> None:
    settings = Pretrained(name=str(prepared.tokenizer_dir), vocab_size=999)
    assert "tokenizer.vocab_size=400" in refusal(lambda: settings.build([]))
