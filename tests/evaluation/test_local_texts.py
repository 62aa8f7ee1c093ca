"""The documents of a text, and the harness's data in the layout of the hub's cache."""

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from smallgpt.errors import UserError
from smallgpt.evaluation import corpora
from smallgpt.evaluation.corpora import read_corpus
from smallgpt.evaluation.harness import load_tasks
from smallgpt.evaluation.local_data import LocalData

HEADING = "^ = [^=]+ = $"
LINES = ["", " = First = \n", " a \n", " = = Part = = \n", " b \n", " = Second = \n", " c \n"]


def parquet(path: Path, **columns: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_lines_become_articles_and_rows_stay_documents_where_no_line_begins_one(tmp_path: Path):
    parquet(tmp_path / "wiki" / "test.parquet", text=LINES)
    whole = read_corpus("wiki", tmp_path, "test", "text", HEADING)
    assert whole == [" = First = \n a \n = = Part = = \n b \n", " = Second = \n c \n"]
    parquet(tmp_path / "books" / "test.parquet", text=["one", "two"])
    assert read_corpus("books", tmp_path, "test", "text", HEADING) == ["one", "two"]


def test_the_split_is_read_and_a_single_file_whole(tmp_path: Path):
    parquet(tmp_path / "books" / "test.parquet", text=["held out"])
    train = parquet(tmp_path / "books" / "train.parquet", text=["seen"])
    assert read_corpus(str(tmp_path / "books"), None, "test", "text", None) == ["held out"]
    assert read_corpus(str(train), None, "test", "text", None) == ["seen"]


@pytest.mark.parametrize(
    ("name", "split", "field", "says"),
    [
        ("boks", "test", "text", "eval.corpora=boks: not in eval.data_dir={0}; did you mean 'books'?"),
        ("books", "validation", "text", "eval.split=validation: {0}/books has test"),
        ("books", "test", "body", "eval.field=body: no such field in {0}/books/test.parquet; there is text"),
        ("empty", "test", "text", "eval.corpora=empty: no text in {0}/empty: empty files (1)"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, name: str, split: str, field: str, says: str):
    parquet(tmp_path / "books" / "test.parquet", text=["held out"])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "test.txt").touch()
    with pytest.raises(UserError) as error:
        read_corpus(name, tmp_path, split, field, None)
    assert str(error.value) == says.format(tmp_path)


def test_a_snapshot_of_the_hub_is_read_by_its_config(tmp_path: Path):
    snapshot = tmp_path / "hub" / "datasets--allenai--ai2_arc" / "snapshots" / "0123"
    for config, question in (("ARC-Easy", "easy?"), ("ARC-Challenge", "hard?")):
        parquet(snapshot / config / "validation-00000-of-00001.parquet", question=[question])
    asked = {
        "task": "arc_easy",
        "dataset_path": "allenai/ai2_arc",
        "dataset_name": "ARC-Easy",
        "training_split": "train",
        "validation_split": "validation",
        "test_split": "test",
    }
    found = LocalData(tmp_path).redirect(asked, num_fewshot=0)
    assert found["custom_dataset"]()["validation"]["question"] == ["easy?"]
    assert found["test_split"] is None and found["training_split"] is None


def test_a_file_that_is_not_what_its_name_says_is_one_line(tmp_path: Path):
    (tmp_path / "copa_validation.jsonl").write_text('{"premise": \n')
    asked = {"task": "copa", "dataset_path": "aps/super_glue", "dataset_name": "copa", "validation_split": "validation"}
    with pytest.raises(UserError, match=r"copa_validation.jsonl: cannot be read"):
        LocalData(tmp_path).redirect(asked, num_fewshot=0)["custom_dataset"]()


def test_a_pattern_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(corpora, "PATIENCE_SECONDS", 0.2)
    with pytest.raises(UserError, match=r"^eval.document_start=\(a\+\)\+\$: takes over 0.2 s to match"):
        list(corpora.joined_lines(["a" * 60 + "b"], "(a+)+$"))
    assert list(corpora.joined_lines(["a", "b"], "a")) == ["ab"]


@pytest.mark.slow
def test_data_without_the_columns_of_the_hub_is_refused(tmp_path: Path):
    (tmp_path / "copa_validation.jsonl").write_text('{"wrong": "column"}\n')
    with pytest.raises(
        UserError, match=r"^eval.data_dir=.*: the data of copa has not the columns of the hub's"
    ) as error:
        load_tasks(["copa"], [], tmp_path, 0, "")
    assert "\n" not in str(error.value)
