"""Prepares a corpus once: memory-mapped token files in a user cache, under a fingerprint.

The folder `<cache_dir>/prepared/<name>-<fingerprint>` is written under another name and renamed at the end, if the text
is still what it was; a lock that dies with its process makes others wait for the result. Duplicates are left out before
the split, as `data.dedupe` says. Several machines can encode the text before (`smallgpt.data.shards`).
"""

import errno
import hashlib
import json
import shutil
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from smallgpt.data.corpora import Corpus
from smallgpt.data.duplicates import Selection
from smallgpt.data.encoding import build_encoder
from smallgpt.data.overlap import sampling_of
from smallgpt.data.pipeline import PartEncoder, in_parallel
from smallgpt.data.prepared_data import INDEX, TOKENIZER, PreparedData, open_prepared, token_type, write_index
from smallgpt.data.progress import Progress
from smallgpt.data.shards import (
    encode_segments,
    encoded_parts,
    is_begun,
    number_encoded,
    number_of_segments,
    read_shared,
    remove_shards,
    shards_folder,
    write_selection,
)
from smallgpt.data.token_files import select_documents, write_tokens
from smallgpt.data.tokenizers import SAMPLE_CHARACTERS, Pretrained, TrainedBPE
from smallgpt.errors import UserError, one_line
from smallgpt.files import whole_folder
from smallgpt.machine.cores import available_cores
from smallgpt.notices import say
from smallgpt.ranks import is_first_process

FORMAT = 4


def prepare(
    corpus: Corpus,
    tokenizer: TrainedBPE | Pretrained,
    cache_dir: str | Path,
    progress: bool = True,
    workers: int | None = None,
) -> PreparedData:
    """Returns the prepared corpus, preparing it if nobody has.

    `workers`: how many processes, None for one a core.
    Raises UserError for whatever is wrong with text, tokenizer or cache.
    """
    identity, directory = _identified(corpus, tokenizer, cache_dir)
    if not (directory / INDEX).is_file():
        with _at_work(corpus, directory), _acquired(directory):
            if not (directory / INDEX).is_file():
                _build(corpus, tokenizer, identity, directory, progress, workers)
    remove_shards(shards_folder(directory))
    return open_prepared(directory)


def prepare_shard(
    corpus: Corpus,
    tokenizer: TrainedBPE | Pretrained,
    cache_dir: str | Path,
    shard: int,
    shards: int,
    progress: bool = True,
    workers: int | None = None,
) -> tuple[str, int, int]:
    """Encodes one of so many shards of a corpus, which `prepare` joins once all of them are there.

    Returns the fingerprint, how many segments of the corpus are encoded, and how many it has. Raises as `prepare` does.
    """
    identity, directory = _identified(corpus, tokenizer, cache_dir)
    folder, segments = shards_folder(directory), number_of_segments(corpus)
    check_unchanged = partial(_refuse_changed, corpus, tokenizer, identity, directory.parents[1])
    workers = workers or available_cores()
    with _at_work(corpus, directory):
        with _acquired(directory):
            if not (directory / INDEX).is_file() and not is_begun(folder):
                corpus.check_reachable()
                with whole_folder(folder) as unfinished:
                    _, selection = _chosen(corpus, tokenizer, unfinished, progress, workers)
                    write_selection(unfinished, selection)
                    check_unchanged()
        try:
            if not (directory / INDEX).is_file():
                encode, numbers = _part_encoder(corpus, *read_shared(folder)), range(shard, segments, shards)
                encode_segments(corpus, encode, folder, numbers, check_unchanged, progress, workers)
        except (UserError, FileNotFoundError):  # a run that began meanwhile has done it all, and removed the folder
            if not (directory / INDEX).is_file():
                raise
    encoded = segments if (directory / INDEX).is_file() else number_encoded(folder, segments)
    return fingerprint_of(identity), encoded, segments


def _identified(corpus: Corpus, tokenizer: TrainedBPE | Pretrained, cache_dir: str | Path) -> tuple[list[Any], Path]:
    """Identity of what is to be prepared, and the folder for it; says what of the text is not read."""
    cache_dir = Path(cache_dir).expanduser()
    corpus.check()
    tokenizer.check()
    identity = data_identity(corpus, tokenizer, cache_dir)
    if is_first_process() and (line := corpus.left_out()):
        say(line)
    return identity, prepared_directory(corpus, fingerprint_of(identity), cache_dir)


@contextmanager
def _at_work(corpus: Corpus, directory: Path) -> Generator[None]:
    """Context of what is written into the cache: what the system refuses there is one line."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise _explained(error, corpus, directory.parents[1]) from error


def _explained(error: OSError, corpus: Corpus, cache_dir: Path) -> UserError:
    """Says on one line whether it was the text that could not be read, or the cache that could not be written."""
    file = Path(str(error.filename or cache_dir))
    if not file.is_relative_to(cache_dir) and not cache_dir.is_relative_to(file):
        return UserError(f"data={corpus.name}: {file} cannot be read ({error.strerror})")
    # NumPy says no more than how much it could write
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "requested and" in str(error) or "os error 28" in str(error):
        return UserError(
            f"cache_dir={cache_dir}: the disk of this folder is full; make room, or cache_dir=<a folder with space>"
        )
    return UserError(f"cache_dir={cache_dir}: cannot be written ({one_line(error)}); cache_dir=<a folder that can>")


def check_data(corpus: Corpus, tokenizer: TrainedBPE | Pretrained, cache_dir: str | Path) -> None:
    """Raises UserError for what `prepare` would refuse, as far as it can be seen in seconds."""
    cache_dir = Path(cache_dir).expanduser()
    corpus.check()
    tokenizer.check()
    directory = prepared_directory(corpus, data_fingerprint(corpus, tokenizer, cache_dir), cache_dir)
    if not (directory / INDEX).is_file():
        corpus.check_reachable()


def data_fingerprint(corpus: Corpus, tokenizer: TrainedBPE | Pretrained, cache_dir: Path) -> str:
    """Fingerprint of 16 hexadecimal digits, which changes with the text, its split, the tokenizer or an option."""
    return fingerprint_of(data_identity(corpus, tokenizer, cache_dir))


def data_identity(corpus: Corpus, tokenizer: TrainedBPE | Pretrained, cache_dir: Path) -> list[Any]:
    """Plain values that decide the prepared data: hashes of the text and of a tokenizer's files, and all options."""
    return [FORMAT, corpus.fingerprint(cache_dir), tokenizer.fingerprint()]


def fingerprint_of(identity: list[Any]) -> str:
    """Fingerprint of an identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def prepared_directory(corpus: Corpus, fingerprint: str, cache_dir: Path) -> Path:
    """Folder in the cache for a corpus with this fingerprint."""
    return cache_dir / "prepared" / f"{corpus.name}-{fingerprint}"


def _acquired(directory: Path) -> AbstractContextManager[Any]:
    """Held lock of a folder; the system frees it when its holder dies, however it dies."""
    lock = FileLock(f"{directory}.lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        say(f"waiting for another process that prepares {directory.name}")
        return lock.acquire()


def _build(
    corpus: Corpus,
    tokenizer_settings: TrainedBPE | Pretrained,
    identity: list[Any],
    directory: Path,
    progress: bool,
    workers: int | None,
) -> None:
    """Writes the whole folder under another name, then gives it its own, if the text is still what it was."""
    corpus.check_reachable()
    workers = workers or available_cores()
    check_unchanged = partial(_refuse_changed, corpus, tokenizer_settings, identity, directory.parents[1])
    shutil.rmtree(directory, ignore_errors=True)  # not whole; the lock says that nobody writes there
    with whole_folder(directory) as unfinished:
        if is_begun(folder := shards_folder(directory)):
            tokenizer, selection = read_shared(folder)
            shutil.copytree(folder / TOKENIZER, unfinished / TOKENIZER)
            encode = _part_encoder(corpus, tokenizer, selection)
            numbers = range(number_of_segments(corpus))
            encode_segments(corpus, encode, folder, numbers, check_unchanged, progress, workers)
            parts = encoded_parts(corpus, encode, folder)
        else:
            tokenizer, selection = _chosen(corpus, tokenizer_settings, unfinished, progress, workers)
            encode = _part_encoder(corpus, tokenizer, selection)
            parts = in_parallel(encode, corpus.parts(), workers)
        counts = write_tokens(corpus, encode, parts, unfinished, progress)
        values = {
            "name": corpus.name,
            "fingerprint": fingerprint_of(identity),
            "vocab_size": len(tokenizer),
            "eos_id": tokenizer.eos_token_id,
            **counts,
            "origin": corpus.origin(),
            "data": corpus.model_dump(),
            "tokenizer": tokenizer_settings.model_dump(),
        }
        write_index(unfinished, values)
        check_unchanged()


def _chosen(
    corpus: Corpus, tokenizer_settings: TrainedBPE | Pretrained, folder: Path, progress: bool, workers: int
) -> tuple[Any, Selection]:
    """Chooses the documents and makes the tokenizer, which it saves in a folder."""
    selection = select_documents(corpus, progress, workers)
    with Progress(f"tokenizer for {corpus.name}", None, progress):
        tokenizer = tokenizer_settings.build(corpus.sample(SAMPLE_CHARACTERS, selection))
    with _as_os_error():
        tokenizer.save_pretrained(folder / TOKENIZER)
    return tokenizer, selection


def _part_encoder(corpus: Corpus, tokenizer: Any, selection: Selection) -> PartEncoder:
    kind, every = token_type(len(tokenizer)), sampling_of(corpus.size())
    return PartEncoder(build_encoder(tokenizer), tokenizer.eos_token_id, kind, selection, every)


def _refuse_changed(corpus: Corpus, tokenizer: TrainedBPE | Pretrained, identity: list[Any], cache_dir: Path) -> None:
    """Raises UserError where the text or the tokenizer is not what it was when the preparation began."""
    now = data_identity(corpus, tokenizer, cache_dir)
    if now != identity:
        raise UserError(
            f"data={corpus.name}: {difference(identity, now)} changed while it was prepared; start again when "
            "nothing writes there"
        )


@contextmanager
def _as_os_error() -> Generator[None]:
    """Context of a library that raises a plain Exception where it cannot write."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(one_line(error)) from error


def difference(before: list[Any], now: list[Any]) -> str:
    """Names the first file that differs between two identities, or else what does."""
    texts = [{name: rest for name, *rest in identity[1].get("files", [])} for identity in (before, now)]
    for name in sorted({**texts[0], **texts[1]}):
        if texts[0].get(name) != texts[1].get(name):
            return name
    return "the text" if before[1] != now[1] else "the tokenizer"
