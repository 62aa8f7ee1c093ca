"""Prepared data that was damaged, or would be of another text than its fingerprint says, is refused on one line."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from smallgpt.data import hub, prepare, prepared_data, token_files
from smallgpt.data.corpus_parts import CorpusPart, Texts
from smallgpt.data.datamodule import TokenDataModule
from smallgpt.data.files import Files
from smallgpt.data.pipeline import in_parallel
from smallgpt.data.prepared_data import PreparedData, open_prepared, prepared_of
from smallgpt.data.tokenizers import Pretrained, TrainedBPE, load_tokenizer
from smallgpt.errors import UserError
from smallgpt.settings import Group


@pytest.fixture
def copy(prepared: PreparedData, tmp_path: Path) -> Path:
    """A copy of prepared data that a test may damage."""
    folder = tmp_path / "cache" / "prepared" / prepared.directory.name
    shutil.copytree(prepared.directory, folder)
    return folder


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def remove(path: Path) -> None:
    path.unlink()


def overwrite(path: Path) -> None:
    """Other bytes in the place of the same number: tokens that no vocabulary has."""
    size = path.stat().st_size
    path.write_bytes(b"\xff" * size)


@pytest.mark.parametrize("damage", [cut, empty, remove, overwrite])
@pytest.mark.parametrize(
    "name", ["train.bin", "validation.bin", "validation_ends.npy", "tokenizer/tokenizer.json", "index.json"]
)
def test_damage_is_named(name: str, damage: Callable[[Path], None], copy: Path) -> None:
    damage(copy / name)
    message = refusal(lambda: open_prepared(copy))
    assert message.startswith(f"{copy / name}: damaged (")
    assert message.endswith(f"; remove {copy}, and it is prepared again")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"train_tokens": 100}, "train.bin: damaged (it has "),
        ({"train_tokens": "100"}, 'index.json: damaged (train_tokens is "100")'),
        ({"vocab_size": None}, "index.json: damaged (vocab_size is null)"),
        ({"files": []}, "index.json: damaged (it holds no index)"),
        ({"files": {"train.bin": 3}}, "index.json: damaged (what it says of train.bin)"),
    ],
)
def test_an_index_that_says_something_else(change: dict[str, object], says: str, copy: Path) -> None:
    index = json.loads((copy / "index.json").read_text())
    (copy / "index.json").write_text(json.dumps(index | change))
    assert says in refusal(lambda: open_prepared(copy))


def test_an_index_that_lacks_something(copy: Path) -> None:
    (copy / "index.json").write_text('{"name": "stories"}')
    assert "index.json: damaged (it lacks " in refusal(lambda: open_prepared(copy))


def test_damage_is_found_before_a_run_uses_it(story_folder: Path, prepared: PreparedData, copy: Path) -> None:
    cut(copy / "train.bin")
    corpus, cache = Files(path=str(story_folder), holdout=0.1), copy.parents[1]
    assert "train.bin: damaged" in refusal(lambda: prepare.prepare(corpus, TrainedBPE(vocab_size=400), cache, False, 1))
    reason = prepared_of(prepared.fingerprint, cache)
    assert isinstance(reason, str) and "train.bin: damaged" in reason


def test_tokens_of_a_file_that_is_too_large_to_hash(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared_data, "HASHED_BYTES", 0)
    overwrite(copy / "train.bin")
    windows = TokenDataModule(open_prepared(copy), 16, 2, seed=0).train_windows
    message = refusal(lambda: windows[[0, 1]])
    assert message.startswith(f"{copy / 'train.bin'}: damaged (token 65535 of ")


@pytest.mark.parametrize("change", [str.swapcase, lambda text: text + "more"])
def test_a_text_that_changes_while_it_is_prepared(
    change: Callable[[str], str], stories: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = tmp_path / "text", tmp_path / "cache"
    folder.mkdir()
    for number, text in enumerate(stories[:40]):
        (folder / f"{number}.txt").write_text(text)
    corpus, tokenizer = Files(path=str(folder), holdout=0.2), TrainedBPE(vocab_size=300)
    write_split = token_files.write_split

    def write_later(*given: object) -> object:
        (folder / "7.txt").write_text(change(stories[7]))
        return write_split(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(token_files, "write_split", write_later)
        message = refusal(lambda: prepare.prepare(corpus, tokenizer, cache, False, 1))
    assert message == "data=text: 7.txt changed while it was prepared; start again when nothing writes there"
    assert not list(cache.glob("prepared/*/index.json"))
    assert prepare.prepare(corpus, tokenizer, cache, False, 1).train_documents


@pytest.mark.parametrize(
    "full", [OSError(errno.ENOSPC, "No space left on device"), OSError("9 requested and 0 written")]
)
def test_a_full_cache_is_named(
    full: OSError, story_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise full

    monkeypatch.setattr(token_files, "write_split", fail)
    corpus = Files(path=str(story_folder))
    message = refusal(lambda: prepare.prepare(corpus, TrainedBPE(vocab_size=300), tmp_path, False, 1))
    assert message.startswith(f"cache_dir={tmp_path}: the disk of this folder is full; make room")
    assert not [path for path in (tmp_path / "prepared").iterdir() if path.suffix != ".lock"]


def test_a_full_cache_of_the_hub_is_named() -> None:
    def load() -> None:
        with hub.errors("data.repository=x", "data=stdlib", local=True):
            try:
                raise OSError(errno.ENOSPC, "No space left on device")
            except OSError as error:
                raise RuntimeError("An error occurred while generating the dataset") from error

    message = refusal(load)
    assert "data.repository=x: the disk of the hub's cache, " in message and "HF_HOME" in message


def test_a_text_that_cannot_be_read_is_no_fault_of_the_cache(story_folder: Path, tmp_path: Path) -> None:
    class Vanishing(Files):
        def parts(self):  # type: ignore[no-untyped-def]
            Path(self.path or "", "gone").stat()
            yield from ()

    corpus = Vanishing(path=str(story_folder))
    message = refusal(lambda: prepare.prepare(corpus, TrainedBPE(vocab_size=300), tmp_path, False, 1))
    assert message == f"data={corpus.name}: {story_folder / 'gone'} cannot be read (No such file or directory)"


def die(_: CorpusPart) -> None:
    os._exit(9)


def test_a_worker_that_is_killed() -> None:
    message = refusal(lambda: list(in_parallel(die, [Texts((), 1)] * 3, 2)))
    assert message.startswith("data: a process that read it was killed")


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("damage", [cut, empty])
def test_a_damaged_tokenizer_folder(name: str, damage: Callable[[Path], None], copy: Path) -> None:
    damage(copy / "tokenizer" / name)
    settings = Pretrained(name=str(copy / "tokenizer"))
    load_tokenizer.cache_clear()
    assert f"tokenizer.name={settings.name}: cannot be loaded (" in refusal(lambda: settings.build([]))
    (copy / "tokenizer" / "tokenizer_config.json").unlink()
    if name == "tokenizer.json":
        assert f"tokenizer.name={settings.name}: tokenizer.json is damaged (" in refusal(lambda: settings.build([]))


@pytest.mark.parametrize(("tokenizer", "most"), [(TrainedBPE, 8_000_000), (Pretrained, 1 << 32)])
def test_a_vocabulary_that_no_text_gives(tokenizer: type[Group], most: int) -> None:
    with pytest.raises(ValueError, match=f"less than or equal to {most}"):
        tokenizer(vocab_size=10**12, name="x") if tokenizer is Pretrained else tokenizer(vocab_size=10**12)


def test_documents_without_text_are_counted(tmp_path: Path) -> None:
    rows = [{"text": f"text {number} " * 5} for number in range(60)] + [{"text": None}, {"text": ""}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    corpus = Files(path=str(tmp_path / "a.jsonl"), holdout=0.2, dedupe="exact")
    data = prepare.prepare(corpus, TrainedBPE(vocab_size=300), tmp_path / "cache", False, 1)
    assert data.without_text == 2 and data.train_documents + data.validation_documents == 60
    assert "data=a: left out, without text (null or empty): 2 documents" in data.warnings()
    assert np.count_nonzero(data.train() == data.eos_id) == data.train_documents + 1
