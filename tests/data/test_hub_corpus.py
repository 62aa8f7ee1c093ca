"""Hub corpora without a network: one quick line; and what `datasets` reads from a folder."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import yaml

from smallgpt.data import hub
from smallgpt.data.hub_corpus import Hub
from smallgpt.data.prepare import check_data, prepare
from smallgpt.data.tokenizers import Pretrained, TrainedBPE
from smallgpt.errors import UserError
from smallgpt.launch.config_files import CONF

HUB_CORPORA = ["shakespeare", "wikitext103", "tinystories", "fineweb_edu"]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    hub.reachable.cache_clear()
    yield
    hub.reachable.cache_clear()


@pytest.mark.parametrize("name", HUB_CORPORA)
def test_without_a_network_one_line_says_what_to_use(name: str, tmp_path: Path) -> None:
    values = yaml.safe_load((CONF / "data" / f"{name}.yaml").read_text())
    assert values.pop("_target_") == "smallgpt.data.hub_corpus.Hub"
    corpus = Hub(**values)
    for refused in (check_data, prepare):
        began = time.monotonic()
        with pytest.raises(UserError) as caught:
            refused(corpus, TrainedBPE(), tmp_path)
        assert time.monotonic() - began < 10
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith(f"data.repository={corpus.repository}: the hub cannot be reached")
        assert "data=stdlib" in message and "data=files" in message


def test_a_name_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(30))
    monkeypatch.setattr(hub, "PATIENCE_SECONDS", 0.2)
    began = time.monotonic()
    assert not hub.reachable()
    assert time.monotonic() - began < 5


def test_tokenizer_without_a_network() -> None:
    settings = Pretrained(name="openai-community/no-such-tokenizer", vocab_size=10)
    assert settings.padded_vocab_size == 64
    with pytest.raises(UserError, match=r"hub cannot be reached.*tokenizer=bpe"):
        settings.build([])


@pytest.fixture
def local(tmp_path: Path, stories: list[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder laid out like a data set of the hub."""
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    folder = tmp_path / "local"
    folder.mkdir()
    for name, texts in {"train": stories[:150], "validation": stories[150:]}.items():
        table = pyarrow.table({"text": texts})
        pyarrow.parquet.write_table(table, folder / f"{name}-00000-of-00001.parquet")
    return folder


def test_official_splits_and_hashed_ones(local: Path, stories: list[str]) -> None:
    corpus = Hub(repository=str(local), validation_split="validation")
    assert list(corpus.documents("train")) == stories[:150] and not list(corpus.documents("test"))
    tested = Hub(repository=str(local), test_split="validation", limit_bytes=5000)
    assert list(tested.documents("test")) == stories[150:]
    assert list(corpus.documents("validation")) == stories[150:]
    corpus = Hub(repository=str(local), holdout=0.2)
    train, validation = list(corpus.documents("train")), list(corpus.documents("validation"))
    assert sorted(train + validation) == sorted(stories[:150])
    assert 10 < len(validation) < 60


def test_a_field_inside_another_and_rows_without_text(local: Path) -> None:
    for path in local.iterdir():
        path.unlink()
    rows = [{"meta": {"text": "one"}}, {"meta": {"text": None}}, {"meta": {"text": "two"}}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), local / "train-00000-of-00001.parquet")
    assert list(Hub(repository=str(local), field="meta.text").documents("train")) == ["one", "", "two"]
    with pytest.raises(UserError, match=r"did you mean 'meta\.text'"):
        list(Hub(repository=str(local), field="meta.txt").documents("train"))


def test_the_text_of_a_local_data_set_is_in_its_fingerprint(local: Path, tmp_path: Path) -> None:
    corpus = Hub(repository=str(local))
    before = corpus.fingerprint(tmp_path)
    table = pyarrow.table({"text": ["other text"]})
    pyarrow.parquet.write_table(table, local / "train-00000-of-00001.parquet")
    assert corpus.fingerprint(tmp_path) != before


def test_streams_up_to_a_limit(local: Path, stories: list[str], tmp_path: Path) -> None:
    corpus = Hub(repository=str(local), limit_bytes=10_000, holdout=0.2)
    prepared = prepare(corpus, TrainedBPE(vocab_size=300), tmp_path / "cache", False, 1)
    size = prepared.train_bytes + prepared.validation_bytes
    assert 10_000 <= size < 10_000 + max(len(text.encode()) for text in stories)
    assert not list((tmp_path / "datasets").glob("**/*.arrow"))


def test_unknown_field_and_split(local: Path) -> None:
    with pytest.raises(UserError, match=r"data\.field=txt: no such field.*did you mean 'text'"):
        list(Hub(repository=str(local), field="txt").documents("train"))
    with pytest.raises(UserError, match="cannot be loaded"):
        list(Hub(repository=str(local), train_split="nowhere").documents("train"))


def test_rows_join_to_articles() -> None:
    pattern = yaml.safe_load((CONF / "data" / "wikitext103.yaml").read_text())["document_start"]
    corpus = Hub(repository="any", document_start=pattern)
    articles = [
        ["", " = First = \n", "", " Text = more \n", " = = Part = = \n", " text \n", ""],
        [" = Second one = \n", " = 5 is no heading \n"],
    ]
    rows = [row for article in articles for row in article]
    assert [text for text in corpus._joined(rows) if text] == ["".join(a) for a in articles]
