"""A corpus that several jobs encode is prepared to the same bytes as by one, whatever was lost on the way."""

import gzip
import json
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from command_line import RUN, CommandLine
from small_stories import story

from smallgpt.data import prepare as prepare_module
from smallgpt.data import shards as shards_module
from smallgpt.data.corpora import Corpus
from smallgpt.data.files import Files
from smallgpt.data.pipeline import PartEncoder
from smallgpt.data.prepare import prepare, prepare_shard
from smallgpt.data.prepared_data import PreparedData
from smallgpt.data.shards import number_of_segments
from smallgpt.data.tokenizers import Pretrained, TrainedBPE, load_tokenizer
from smallgpt.errors import UserError

TOKENIZER = TrainedBPE(vocab_size=300)
SEGMENTS = 6
"""Four files of JSON lines, a compressed one and Parquet, each a segment."""


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of stories, some of which occur again in another file, word for word or nearly."""
    folder = tmp_path_factory.mktemp("text")
    for number in range(SEGMENTS):
        texts = [story(40 * number + each) for each in range(40)]
        texts += [story(each) for each in range(5)]
        texts += [f"{story(40 + each)} And that was the end of story {number}." for each in range(5)]
        lines = "".join(json.dumps({"text": text}) + "\n" for text in ["", *texts]).encode()
        if number < SEGMENTS - 2:
            (folder / f"{number}.jsonl").write_bytes(lines)
        elif number < SEGMENTS - 1:
            (folder / f"{number}.jsonl.gz").write_bytes(gzip.compress(lines))
        else:
            pyarrow.parquet.write_table(pyarrow.table({"text": texts}), folder / f"{number}.parquet")
    return folder


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes several parts of a file that is read in one go."""
    monkeypatch.setattr("smallgpt.data.corpus_parts.TEXTS_BYTES", 3000)


@pytest.fixture
def corpus(text_folder: Path) -> Files:
    return Files(path=str(text_folder), holdout=0.2, dedupe="exact")


@pytest.fixture(scope="module")
def plain(text_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one job makes of the corpus."""
    corpus = Files(path=str(text_folder), holdout=0.2, dedupe="exact")
    return prepare(corpus, TOKENIZER, tmp_path_factory.mktemp("plain"), False, 1).directory


@pytest.fixture
def encodings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The parts that were encoded, so far, in this process."""
    parts: list[Any] = []
    encode = PartEncoder.__call__

    def counted(self: PartEncoder, part: Any) -> Any:
        parts.append(part)
        return encode(self, part)

    monkeypatch.setattr(PartEncoder, "__call__", counted)
    return parts


def encode_shards(corpus: Corpus, cache: Path, numbers: tuple[int, ...] = (2, 0, 1), shards: int = 3) -> Path:
    """Encodes shards one after another; returns their folder."""
    for number in numbers:
        prepare_shard(corpus, TOKENIZER, cache, number, shards, False, 1)
    [folder] = (cache / "prepared").glob("*.shards")
    return folder


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def joined(corpus: Corpus, cache: Path, tokenizer: TrainedBPE | Pretrained = TOKENIZER) -> PreparedData:
    """What `prepare` makes of the shards, which must leave nothing of them."""
    data = prepare(corpus, tokenizer, cache, False, 1)
    left = [path.name for path in (cache / "prepared").iterdir()]
    assert sorted(left) == [data.directory.name, f"{data.directory.name}.lock"]
    return data


@pytest.mark.parametrize("dedupe", ["none", "exact", "near"])
def test_shards_make_the_bytes_of_one_job(dedupe: Any, corpus: Files, tmp_path: Path, encodings: list[Any]) -> None:
    corpus = corpus.model_copy(update={"dedupe": dedupe})
    expected = prepare(corpus, TOKENIZER, tmp_path / "plain", False, 1)
    parts, cache = len(encodings), tmp_path / "cache"
    assert parts > SEGMENTS, "a file that is read in one go has several parts"
    for number, encoded in ((2, 2), (0, 4), (1, 6)):
        found = prepare_shard(corpus, TOKENIZER, cache, number, 3, False, workers=1 + number % 2)
        assert found == (expected.fingerprint, encoded, SEGMENTS)
    encodings.clear()
    data = joined(corpus, cache)
    assert not encodings, "nothing is encoded twice"
    assert contents(data.directory) == contents(expected.directory)
    duplicates = {"none": (0, False), "exact": (30, False), "near": (30, True)}
    assert (data.exact_duplicates, data.near_duplicates > 0) == duplicates[dedupe]
    assert prepare_shard(corpus, TOKENIZER, cache, 0, 3, False, 1) == (expected.fingerprint, SEGMENTS, SEGMENTS)


def test_one_job_of_one_shard_is_a_preparation_too(corpus: Files, plain: Path, tmp_path: Path) -> None:
    encode_shards(corpus, tmp_path, (0,), 1)
    assert contents(joined(corpus, tmp_path).directory) == contents(plain)


def test_a_given_tokenizer_encodes_the_same_in_all_shards(corpus: Files, plain: Path, tmp_path: Path) -> None:
    tokenizer = Pretrained(name=str(plain / "tokenizer"))
    expected = prepare(corpus, tokenizer, tmp_path / "plain", False, 1)
    for number in range(3):
        prepare_shard(corpus, tokenizer, tmp_path / "cache", number, 3, False, 1)
    assert contents(joined(corpus, tmp_path / "cache", tokenizer).directory) == contents(expected.directory)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


class Running:
    """Object whose pickle makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def replace_by_pickle(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("1", "w") as file:
            np.lib.format.write_array(file, np.array([Running(path.parents[2] / "was_run")], object))
        archive.writestr("number of parts", "1")


@pytest.mark.parametrize("damage", [Path.unlink, cut, flip, replace_by_pickle])
def test_a_missing_or_damaged_segment_is_encoded_again(
    damage: Callable[[Path], None], corpus: Files, plain: Path, tmp_path: Path, encodings: list[Any]
) -> None:
    folder = encode_shards(corpus, tmp_path)
    sizes = [sum(1 for _ in segment) for segment in corpus.segments()]
    broken = (1, SEGMENTS - 1)
    for number in broken:
        damage(folder / f"{number}.zip")
    encodings.clear()
    assert contents(joined(corpus, tmp_path).directory) == contents(plain)
    assert not (tmp_path / "was_run").exists()
    again = len(encodings)
    # a flipped bit is found when its part is read, and those before it are good
    assert again == sum(sizes[each] for each in broken) or (damage is flip and 2 <= again <= sizes[1] + sizes[-1])


def test_a_job_that_was_cut_off_goes_on(
    corpus: Files, plain: Path, tmp_path: Path, encodings: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = shards_module.write_parts

    def interrupted(path: Path, parts: Any) -> None:
        if path.name == "4.zip":
            next(parts)
            raise KeyboardInterrupt
        write(path, parts)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shards_module, "write_parts", interrupted)
        prepare_shard(corpus, TOKENIZER, tmp_path, 0, 2, False, 1)
    before = Counter(map(str, encodings))
    [folder] = (tmp_path / "prepared").glob("*.shards")
    assert sorted(path.name for path in folder.glob("*.zip")) == ["0.zip", "2.zip"]
    encodings.clear()
    encode_shards(corpus, tmp_path, (0, 1), 2)
    assert len(before) == 3 and (before & Counter(map(str, encodings))).total() == 1, "of the segment that was cut off"
    assert contents(joined(corpus, tmp_path).directory) == contents(plain)


def test_a_segment_is_written_whole_or_not_at_all(
    corpus: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(UserError, match="the disk of this folder is full"):
        patch.setattr(zipfile.ZipFile, "writestr", full)  # the last that is written of a segment
        prepare_shard(corpus, TOKENIZER, tmp_path, 0, 2, False, 1)
    [folder] = (tmp_path / "prepared").glob("*.shards")
    assert sorted(path.name for path in folder.iterdir()) == ["selection.npz", "tokenizer"]


def test_a_text_that_changes_leaves_no_segment_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = tmp_path / "text", tmp_path / "cache"
    folder.mkdir()
    for number in range(4):
        rows = [json.dumps({"text": story(20 * number + each)}) + "\n" for each in range(20)]
        (folder / f"{number}.jsonl").write_text("".join(rows))
    corpus, before = Files(path=str(folder), holdout=0.2), (folder / "2.jsonl").read_text()
    encode = PartEncoder.__call__

    def changing(self: PartEncoder, part: Any) -> Any:
        (folder / "2.jsonl").write_text(before.replace(" the ", " THE "))
        return encode(self, part)

    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"2\.jsonl changed while it was prepared"):
        patch.setattr(PartEncoder, "__call__", changing)
        prepare_shard(corpus, TOKENIZER, cache, 0, 2, False, 1)
    (folder / "2.jsonl").write_text(before)
    assert prepare_shard(corpus, TOKENIZER, cache, 1, 2, False, 1)[1:] == (2, 4), "none of the first shard"


def test_a_run_that_does_not_wait_does_the_rest_itself(
    corpus: Files, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode_segments = prepare_module.encode_segments

    def late(*arguments: Any) -> None:
        monkeypatch.undo()
        prepare(corpus, TOKENIZER, tmp_path, False, 1)  # a training, say, while the shard is at work
        encode_segments(*arguments)

    encode_shards(corpus, tmp_path, (0,))
    monkeypatch.setattr(prepare_module, "encode_segments", late)
    assert prepare_shard(corpus, TOKENIZER, tmp_path, 1, 3, False, 1)[1:] == (SEGMENTS, SEGMENTS)
    assert contents(joined(corpus, tmp_path).directory) == contents(plain)


def test_what_a_killed_job_left_beside_the_result_is_removed(corpus: Files, tmp_path: Path) -> None:
    directory = joined(corpus, tmp_path).directory
    (left := directory.with_name(f"{directory.name}.shards")).mkdir()
    (left / "0.zip").touch()
    joined(corpus, tmp_path)


@pytest.mark.parametrize("name", ["selection.npz", "tokenizer/tokenizer.json"])
def test_damage_to_what_all_shards_share_is_named(name: str, corpus: Files, tmp_path: Path) -> None:
    folder = encode_shards(corpus, tmp_path, (0,))
    cut(folder / name)
    load_tokenizer.cache_clear()  # another process reads it
    with pytest.raises(UserError) as caught:
        prepare(corpus, TOKENIZER, tmp_path, False, 1)
    assert str(caught.value).startswith(f"{folder}: damaged (") and "\n" not in str(caught.value)


def test_segments_are_read_apart_or_not_at_all(text_folder: Path, tmp_path: Path) -> None:
    assert number_of_segments(Files(path=str(text_folder))) == SEGMENTS
    assert number_of_segments(Files(path=str(text_folder / f"{SEGMENTS - 1}.parquet"))) == 1
    for name, source in (("validation.jsonl.gz", SEGMENTS - 2), ("train.parquet", SEGMENTS - 1)):
        (tmp_path / name).write_bytes(next(text_folder.glob(f"{source}.*")).read_bytes())
    for corpus in (Files(path=str(text_folder)), Files(path=str(tmp_path))):
        last_first = [[*segment] for segment in reversed(list(corpus.segments()))]
        found = [document for segment in last_first[::-1] for part in segment for document in part.documents()]
        assert found == [document for part in corpus.parts() for document in part.documents()]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prepare.shards=3"], "prepare.shards=3: which of them? -m 'prepare.shard=range(3)' runs all"),
        (["prepare.shard=1"], "prepare.shard=1: of how many? give prepare.shards=<number of jobs>"),
        (["prepare.shards=3", "prepare.shard=3"], "prepare.shard=3: must be below prepare.shards=3"),
        (["prepare.shards=0", "prepare.shard=0"], "prepare.shards=0: must be over 0"),
        (["prepare.shards=7", "prepare.shard=0"], "prepare.shards=7: data=text can be shared by at most 6 jobs; "),
        (
            ["prepare.shards=2", "prepare.shard=0", "data=fineweb_edu"],
            "prepare.shards=2: data=fineweb-edu is read in one go, as a stream from the hub, ",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_shared_is_refused(words: list[str], message: str, text_folder: Path, cli: CommandLine) -> None:
    data = [] if "data=fineweb_edu" in words else ["data=files", f"data.path={text_folder}"]
    assert cli.refused("task=prepare", *data, *words).startswith(
        message.replace("data=text", f"data={text_folder.name}")
    )


@pytest.mark.slow
def test_a_sweep_shares_a_corpus(text_folder: Path, plain: Path, tmp_path: Path) -> None:
    words = ["task=prepare", "data=files", f"data.path={text_folder}", "data.holdout=0.2", "data.dedupe=exact"]
    words += ["tokenizer.vocab_size=300", "cache_dir=cache", "hydra.sweep.dir=sweep", "hydra.launcher.n_jobs=2"]
    command = [sys.executable, str(RUN), "-m", *words, "prepare.shards=3", "prepare.shard=range(3)"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    results = [json.loads((tmp_path / "sweep" / str(number) / "result.json").read_text()) for number in range(3)]
    assert len({result["data_fingerprint"] for result in results}) == 1
    assert any("data" in result for result in results), "the last to end has joined them"
    assert contents(
        joined(Files(path=str(text_folder), holdout=0.2, dedupe="exact"), tmp_path / "cache").directory
    ) == (contents(plain))
