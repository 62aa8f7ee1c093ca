"""What each corpus reads, and that the split goes by document."""

import gzip
import json
import sysconfig
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from smallgpt.data import corpora
from smallgpt.data.corpora import StandardLibrary
from smallgpt.data.corpus_parts import LONGEST_BLOCK_BYTES, paragraph_documents
from smallgpt.data.duplicates import EVERYTHING
from smallgpt.data.files import Files
from smallgpt.data.folders import official_split
from smallgpt.data.formats import PEEK_BYTES


def split_of(corpus: corpora.Corpus) -> tuple[list[str], list[str]]:
    corpus.check()
    return list(corpus.documents("train")), list(corpus.documents("validation"))


def write(path: Path, texts: list[str], field: str = "text") -> Path:
    """The texts in the format that the path's name asks for."""
    name = path.name.removesuffix(".gz").removesuffix(".zst")
    if name.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.table({"id": range(len(texts)), field: texts}), path)
        data = path.read_bytes()
    elif name.endswith(".jsonl"):
        data = "".join(json.dumps({"id": 1, field: text}) + "\n" for text in texts).encode()
    else:
        data = "\n\n".join(texts).encode()
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = pyarrow.compress(data, codec="zstd", asbytes=True)
    path.write_bytes(data)
    return path


ROWS = ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet", "a.parquet.gz", "a.parquet.zst"]


@pytest.mark.parametrize("name", ROWS)
def test_rows_split_by_document_and_alike_in_every_format(name: str, stories: list[str], tmp_path: Path) -> None:
    train, validation = split_of(Files(path=str(write(tmp_path / name, stories, "story")), field="story", holdout=0.2))
    assert set(train) | set(validation) == set(stories)
    assert not set(train) & set(validation)
    assert 20 < len(validation) < 60
    backwards = write(tmp_path / f"b{name}", stories[::-1], "story")
    moved, _ = split_of(Files(path=str(backwards), field="story", holdout=0.2))
    assert moved == train[::-1]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.txt.zst", "noending"])
def test_one_plain_text_is_cut_into_blocks(name: str, stories: list[str], tmp_path: Path) -> None:
    path = write(tmp_path / name, stories * 3)
    train, validation = split_of(Files(path=str(path), holdout=0.2))
    assert len(train) > 5 and len(validation) > 1
    assert sum(map(len, train + validation)) == len("\n\n".join(stories * 3))
    assert all(text.endswith("\n\n") for text in train[:-1])


@pytest.mark.parametrize("text", ["", "x", "a\n" * 9000, "é" * 30_000, "ab " * 30_000, "p\n\n" * 9000 + "end"])
def test_blocks_join_to_the_text(text: str) -> None:
    cut = list(paragraph_documents(text.encode().splitlines(keepends=True), Path("text")))
    assert "".join(cut) == text
    assert all(len(block.encode()) <= 2 * LONGEST_BLOCK_BYTES for block in cut)


def test_ranges_of_a_large_file_give_each_line_once(
    stories: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.jsonl", stories)
    for size in (100, 997, 5000):
        monkeypatch.setattr("smallgpt.data.files.part_size", lambda _, size=size: size)
        corpus = Files(path=str(path))
        texts = [text for part in corpus.parts() for _, text in part.documents()]
        assert texts == stories


def test_folder_of_texts_is_split_by_file(story_folder: Path, stories: list[str]) -> None:
    train, validation = split_of(Files(path=str(story_folder), holdout=0.1))
    assert sorted(train + validation) == sorted(stories)
    assert 5 < len(validation) < 40


def test_a_folder_of_few_files_still_holds_one_out(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(name)
    train, validation = split_of(Files(path=str(tmp_path), holdout=0.0001))
    assert (len(train), len(validation)) == (2, 1)


@pytest.mark.parametrize("held", ["validation.jsonl", "valid-0.txt", "val.parquet", "Dev_1.txt.gz"])
def test_official_splits(held: str, tmp_path: Path) -> None:
    write(tmp_path / "train-000.txt", ["first"])
    write(tmp_path / "train-001.jsonl", ["second"])
    write(tmp_path / "test.txt", ["scored at the end"])
    (tmp_path / "README.md").write_text("about")
    write(tmp_path / held, ["held out"])
    corpus = Files(path=str(tmp_path))
    train, validation = split_of(corpus)
    assert sorted(train) == ["first", "second"]
    assert validation == ["held out"]
    assert list(corpus.documents("test")) == ["scored at the end"] and corpus.has_splits


def test_a_test_file_alone_leaves_the_rest_to_the_hash(tmp_path: Path) -> None:
    write(tmp_path / "test.txt", ["scored at the end"])
    for number in range(4):
        write(tmp_path / f"part{number}.txt", [f"text {number}"])
    train, validation = split_of(Files(path=str(tmp_path)))
    assert sorted(train + validation) == [f"text {number}" for number in range(4)]
    assert validation and not Files(path=str(tmp_path)).has_splits
    for number in range(1, 4):
        (tmp_path / f"part{number}.txt").unlink()
    write(tmp_path / "part0.txt", ["A paragraph of some length.\n\n" * 2000])
    train, validation = split_of(Files(path=str(tmp_path), holdout=0.3, dedupe="none"))
    assert train and validation, "one text is cut into blocks, beside a test file too"


def test_names_of_splits() -> None:
    names = {
        "train.txt": "train",
        "training_set.txt": "train",
        "trainset.txt": "train",
        "train/a.txt": "train",
        "val/0/a.txt": "validation",
        "valid.txt": "validation",
        "dev.jsonl.gz": "validation",
        "test2.txt": "test",
        "testimony.txt": None,
        "valley.txt": None,
        "development.md": None,
        "my_train.txt": None,
    }
    assert {name: official_split(Path(name)) for name in names} == names


def test_text_beyond_the_first_look_is_read_as_it_is(tmp_path: Path) -> None:
    # A character lies across the end of what check() looks at.
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * (PEEK_BYTES - 1) + "é\r\nend".encode() * 2)
    corpus = Files(path=str(path), holdout=0.5)
    train, validation = split_of(corpus)
    assert sum(len(text.encode()) for text in train + validation) == path.stat().st_size


def test_half_a_surrogate_pair_in_json(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a\\ud800b"}\n{"text": "\\ud83d\\ude00"}\n')
    train, validation = split_of(Files(path=str(path)))
    assert sorted(train + validation) == ["a\ufffdb", "😀"]


@pytest.fixture
def small_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for number in range(60):
        (tmp_path / f"module_{number}.py").write_text(f"x = {number}\n")
    for folder in ("site-packages", "dist-packages", "__pycache__", "package"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "inside.py").write_text(f"# {folder}\n")
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "latin.py").write_bytes(b"# \xe9\n")
    (tmp_path / "notes.txt").write_text("not source")
    monkeypatch.setattr(corpora, "library_root", lambda: tmp_path)
    return tmp_path


def test_standard_library_takes_source_and_nothing_else(small_library: Path) -> None:
    train, validation = split_of(StandardLibrary(holdout=0.2))
    expected = {f"x = {number}\n" for number in range(60)} | {"# package\n"}
    assert set(train) | set(validation) == expected
    assert len(train) + len(validation) == 61
    assert 3 < len(validation) < 25


def test_a_new_file_moves_no_other(small_library: Path) -> None:
    before = split_of(StandardLibrary(holdout=0.2))
    (small_library / "added.py").write_text("# added\n")
    corpora.library_files.cache_clear()
    train, validation = split_of(StandardLibrary(holdout=0.2))
    assert "# added\n" in train + validation
    assert set(train) >= set(before[0]) and set(validation) >= set(before[1])


def test_the_real_standard_library_is_there() -> None:
    StandardLibrary().check()
    assert corpora.library_root() == Path(sysconfig.get_path("stdlib"))
    assert (StandardLibrary().size() or 0) > 5_000_000


def test_sample_is_training_text_from_all_over(story_folder: Path) -> None:
    corpus = Files(path=str(story_folder))
    validation = set(corpus.documents("validation"))
    sample = list(corpus.sample(10**9, EVERYTHING))
    assert len(sample) == len(list(corpus.documents("train")))
    assert not validation & set(sample)
