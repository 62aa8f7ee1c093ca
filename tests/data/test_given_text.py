"""Everything that a user gives is read, or counted in a line, or refused with its place."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from smallgpt.data.corpora import Corpus
from smallgpt.data.files import Files
from smallgpt.data.folders import official_split
from smallgpt.errors import UserError


def texts_of(corpus: Corpus) -> list[str]:
    corpus.check()
    return [text for part in corpus.parts() for _, text in part.documents()]


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def folder_of(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"text of {name}\n")
    return root


def test_programs_are_no_splits(tmp_path: Path) -> None:
    names = ["train.py", "val.py", "test_model.py", "tests/test_data.py", *(f"m{number}.py" for number in range(38))]
    corpus = Files(path=str(folder_of(tmp_path, *names)))
    assert sorted(texts_of(corpus)) == sorted(f"text of {name}\n" for name in names)
    assert not corpus.has_splits
    said = corpus.left_out()
    assert said and "no splits, which end in .txt, .jsonl or the like: train.py, val.py" in said


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002.parquet", "train"),
        ("test-00000-of-00001-a09b74b3ef9c3b56.parquet", "test"),
        ("train/loop.py", "train"),
        ("VAL/a/b.txt", "validation"),
        ("train", "train"),
        ("training_set.csv", "train"),
        ("test_model.py", None),
        ("test_model.txt", None),
        ("train.py", None),
        ("val_loss.csv", None),
        ("test_data/a.txt", None),
        ("devices.txt", None),
        ("training notes.txt", None),
    ],
)
def test_only_whole_names_are_splits(name: str, split: str | None) -> None:
    assert official_split(Path(name)) == split


def test_a_folder_is_read_or_counted(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "root", "train.txt", "val.txt", "README.md", "NOTES.md", ".hidden", ".git/config")
    (root / "empty.txt").touch()
    (root / "nowhere.txt").symlink_to("missing.txt")
    os.mkfifo(root / "pipe.txt")
    corpus = Files(path=str(root))
    assert sorted(texts_of(corpus)) == ["text of train.txt\n", "text of val.txt\n"]
    assert corpus.left_out() == (
        f"data.path={root}: 2 files are read; validation (1), train (1); not read: hidden folders (1), "
        "hidden files (1), empty files (1), links to nothing (1), pipes, sockets or devices (1), "
        "files that name no split (2)"
    )
    assert Files(path=str(folder_of(tmp_path / "plain", "a.txt", "b.txt"))).left_out() is None


def test_linked_folders_are_read_once(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "root", "a.txt", "inside/b.txt")
    folder_of(tmp_path / "elsewhere", "c.txt")
    (root / "first").symlink_to(tmp_path / "elsewhere")
    (root / "second").symlink_to(tmp_path / "elsewhere")
    (root / "again").symlink_to(root / "inside")
    (tmp_path / "elsewhere" / "circle").symlink_to(root)
    corpus = Files(path=str(root))
    assert sorted(texts_of(corpus)) == ["text of a.txt\n", "text of c.txt\n", "text of inside/b.txt\n"]
    assert "not read: linked folders that are read elsewhere (3)" in (corpus.left_out() or "")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    assert "give a file or a folder" in refusal(Files(path=str(tmp_path / "pipe.txt")).check)


@pytest.mark.parametrize("name", ["a.txt.gz", "a.txt.zst", "a.jsonl.gz", "a.jsonl.zst", "a.csv.zst", "a.parquet"])
def test_cut_files_are_named(name: str, tmp_path: Path) -> None:
    rows = [{"text": os.urandom(60_000).hex()} for _ in range(20)]
    path = tmp_path / name
    if name.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        data = path.read_bytes()
        cut = data[:100_000] + bytes(len(data) - 200_000) + data[-100_000:]
    else:
        lines = [row["text"] if ".csv" in name else json.dumps(row) for row in rows]
        data = "\n".join(["text", *lines] if ".csv" in name else lines).encode()
        pack = gzip.compress if name.endswith(".gz") else lambda data: pyarrow.compress(data, "zstd", asbytes=True)
        cut = pack(data)[:-20_000]
    path.write_bytes(cut)
    corpus = Files(path=str(path))
    corpus.check()  # looks at the beginning alone
    message = refusal(lambda: texts_of(corpus))
    assert message.startswith(f"data.path={path}: cut or damaged, or not what its name says (")


def test_a_frame_behind_another_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.zst"
    path.write_bytes(b"".join(pyarrow.compress(text, "zstd", asbytes=True) for text in (b"first ", b"second")))
    assert texts_of(Files(path=str(path))) == ["first second"]


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'id,text\n1,"one, and\nmore"\n2,\n\n3,"say ""yes"""\n'),
        ("a.tsv", 'text\tid\n"one, and\nmore"\t1\n""\t2\n"say ""yes"""\t3\n'),
        ("a.json", json.dumps([{"text": "one, and\nmore"}, {"text": None}, {"text": 'say "yes"'}], indent=1)),
        ("a.jsonl", '{"text": "one, and\\nmore"}\n{"text": null}\n{"text": "say \\"yes\\""}\n'),
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_rows_of_every_format(name: str, content: str, suffix: str, mark: bytes, tmp_path: Path) -> None:
    data = mark + content.encode()
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(gzip.compress(data) if suffix else data)
    assert texts_of(Files(path=str(path))) == ["one, and\nmore", "", 'say "yes"']


def test_a_field_inside_another(tmp_path: Path) -> None:
    rows = [{"id": 1, "meta": {"text": "one", "length": 3}}, {"id": 2, "meta": {"text": None}}, {"id": 3, "meta": None}]
    lines, table = tmp_path / "a.jsonl", tmp_path / "a.parquet"
    lines.write_text("\n".join(map(json.dumps, rows)))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), table)
    for path in (lines, table):
        assert texts_of(Files(path=str(path), field="meta.text")) == ["one", "", ""]
        message = refusal(Files(path=str(path), field="meta.txt").check)
        assert "there is id, meta.text, meta.length; did you mean 'meta.text'?" in message
        assert "not text" in refusal(Files(path=str(path), field="meta.length").check)
    lines.write_text(json.dumps({"meta.text": "as it is called"}))
    assert texts_of(Files(path=str(lines), field="meta.text")) == ["as it is called"]


@pytest.mark.parametrize(
    ("name", "content", "place", "what"),
    [
        ("a.jsonl", '{"text": "x"}\n' * 4000 + '\n{"text": 5}\n', "line 4002", "holds a number, not text"),
        ("a.jsonl", '{"text": "x"}\n' * 4000 + '{"txt": ""}\n', "line 4001", "did you mean 'txt'?"),
        ("a.jsonl", '{"text": "x"}\n' * 4000 + '{"text": "\n', "line 4001", "not JSON"),
        ("a.jsonl", '{"text": "x"}\n[1]\n', "line 2", "a list, not an object"),
        ("a.json", '[{"text": "x"}, {"text": ["y"]}]', "row 2", "holds a list, not text"),
        ("a.json", '[{"text": "x"}, {"te', "", "a JSON array that is cut or damaged"),
        ("a.csv", 'text,id\n"a\nb",1\nc,2,3\n', "line 4", "3 cells, and the header has 2"),
        ("a.csv", 'text,id\na,1\n"b,2\n', "line 3", "not CSV"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_with_its_line(
    name: str, content: str, place: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smallgpt.data.files.part_size", lambda _: 997)
    path = tmp_path / name
    path.write_text(content)
    message = refusal(lambda: texts_of(Files(path=str(path))))
    assert f"{path}, {place}" in message if place else str(path) in message
    assert what in message


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbffirst")
    assert texts_of(Files(path=str(tmp_path / "a.txt"))) == ["first"]
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbfsecond")
    corpus = Files(path=str(tmp_path), holdout=1e-9)
    assert sorted(texts_of(corpus)) == ["first", "second"]
    assert len(list(corpus.documents("validation"))) == 1
