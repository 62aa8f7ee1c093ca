"""Shards: what the jobs that prepare a corpus together leave for each other, until one of them has joined it.

It lies beside the prepared folder, in `<name>-<fingerprint>.shards`:

tokenizer/     the tokenizer, made once
selection.npz  which documents are left out or moved to training, found once
<number>.zip   the encoded parts of one segment of the corpus, as plain arrays: whole, or not there
"""

import io
import secrets
import shutil
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import fields
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

from smallgpt.data.corpora import Corpus
from smallgpt.data.corpus_parts import CorpusPart
from smallgpt.data.duplicates import Selection
from smallgpt.data.pipeline import SPLITS, Documents, EncodedPart, PartEncoder, in_parallel
from smallgpt.data.prepared_data import TOKENIZER
from smallgpt.data.progress import Progress
from smallgpt.data.tokenizers import load_tokenizer
from smallgpt.errors import UserError, one_line
from smallgpt.notices import say

SELECTION = "selection.npz"
COUNT = "number of parts"
ARRAYS = tuple(field.name for field in fields(Documents))


def shards_folder(directory: Path) -> Path:
    """Folder of the shards of what is to be prepared in `directory`."""
    return directory.with_name(f"{directory.name}.shards")


def segment_file(folder: Path, number: int) -> Path:
    """File of the encoded parts of one segment."""
    return folder / f"{number}.zip"


def number_of_segments(corpus: Corpus) -> int:
    """Number of segments of a corpus, more than which no jobs can share it."""
    return sum(1 for _ in corpus.segments())


def is_begun(folder: Path) -> bool:
    """Whether a folder holds what all shards need."""
    return (folder / SELECTION).is_file()


def number_encoded(folder: Path, number: int) -> int:
    """Number of segments, of so many, that are encoded."""
    return sum(segment_file(folder, each).is_file() for each in range(number))


def remove_shards(folder: Path) -> None:
    """Removes the folder of shards, where there is one and it may be removed."""
    with suppress(OSError):
        (folder / SELECTION).unlink(missing_ok=True)  # first, or half a folder could be used
        shutil.rmtree(folder, ignore_errors=True)


def write_selection(folder: Path, selection: Selection) -> None:
    """Writes which documents are left out and which are moved to training."""
    left_out, trained_on = (np.array(sorted(each), np.uint64) for each in (selection.left_out, selection.trained_on))
    np.savez(folder / SELECTION, left_out=left_out, trained_on=trained_on)


def read_shared(folder: Path) -> tuple[Any, Selection]:
    """The tokenizer and the selection of all shards. Raises UserError where they are damaged."""
    try:
        with np.load(folder / SELECTION, allow_pickle=False) as found:
            selection = Selection(*(frozenset(found[name].tolist()) for name in ("left_out", "trained_on")))
        return load_tokenizer(str(folder / TOKENIZER)), selection
    except Exception as error:
        raise UserError(f"{folder}: damaged ({one_line(error)}); remove it, and it is prepared again") from None


def encode_segments(
    corpus: Corpus,
    encode: PartEncoder,
    folder: Path,
    numbers: Iterable[int],
    check_unchanged: Callable[[], None],
    progress: bool,
    workers: int,
) -> None:
    """Encodes those of the segments that are not there yet; keeps none of them if the text has changed meanwhile."""
    missing = {number for number in numbers if not segment_file(folder, number).is_file()}
    drawn: deque[int] = deque()  # the segment of each part that is at work
    written: list[Path] = []

    def parts() -> Iterator[CorpusPart]:
        for number, segment in enumerate(corpus.segments()):
            for part in segment if number in missing else ():
                drawn.append(number)
                yield part

    try:
        with Progress(f"tokens of {corpus.name}", len(missing), progress and bool(missing)) as bar:
            for number, encoded in groupby(in_parallel(encode, parts(), workers), lambda _: drawn.popleft()):
                write_parts(segment_file(folder, number), encoded)
                written.append(segment_file(folder, number))
                bar.advance(1)
    finally:
        try:
            if written:
                check_unchanged()
        except Exception:
            for path in written:
                path.unlink(missing_ok=True)
            raise


def encoded_parts(corpus: Corpus, encode: PartEncoder, folder: Path) -> Iterator[EncodedPart]:
    """Encoded parts of a whole corpus, in their order, as its segments' files have them; of a damaged one anew."""
    for number, segment in enumerate(corpus.segments()):
        path, done = segment_file(folder, number), 0
        try:
            for encoded in read_parts(path):
                yield encoded
                done += 1
            continue
        except Exception as error:  # those of zipfile, zlib and NumPy share no base class
            say(f"{path}: damaged ({one_line(error)}); encoded again")
        yield from map(encode, islice(segment, done, None))


def write_parts(path: Path, parts: Iterable[EncodedPart]) -> None:
    """Writes encoded parts to one file, whole or not at all, with one of them in memory at a time."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")  # another machine may be at the same segment
    try:
        with zipfile.ZipFile(temporary, "w") as archive:
            number = 0
            for number, part in enumerate(parts, 1):
                numbers = np.array([part.size, part.left_out, part.without_text])
                arrays = [getattr(part.documents[split], name) for split in SPLITS for name in ARRAYS]
                with archive.open(str(number), "w", force_zip64=True) as file:
                    for array in (numbers, *arrays):
                        np.lib.format.write_array(file, array, allow_pickle=False)
            archive.writestr(COUNT, str(number))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_parts(path: Path) -> Iterator[EncodedPart]:
    """Reads what `write_parts` wrote, one part at a time; each is compared with its checksum before it is used.

    Raises whatever zipfile and NumPy raise where a file is damaged, or is not there.
    """
    with zipfile.ZipFile(path) as archive:
        for number in range(1, int(archive.read(COUNT)) + 1):
            file = io.BytesIO(archive.read(str(number)))
            size, left_out, without_text = read_array(file).tolist()
            documents = {split: Documents(*[read_array(file) for _ in ARRAYS]) for split in SPLITS}
            yield EncodedPart(size, documents, left_out, without_text)


def read_array(file: io.BytesIO) -> np.ndarray:
    """Reads the next array of a file, and never an object that could run code."""
    return np.lib.format.read_array(file, allow_pickle=False)
