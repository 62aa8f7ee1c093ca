"""Prepares a corpus once: memory-mapped token files in a user cache, under a fingerprint.

    <cache_dir>/prepared/<name>-<fingerprint>/
        index.json               counts, names, origin, fingerprint; says that the folder is whole
        train.bin validation.bin tokens, uint16 or uint32: EOT doc EOT doc ... EOT
        validation_ends.npy      after which token each held-out document's closing EOT comes
        validation_bytes.npy     UTF-8 bytes of each held-out document
        tokenizer/               what AutoTokenizer.from_pretrained loads

The folder is written under another name and renamed at the end; a lock that dies with its process
makes others wait for the result. Held-out documents lie in a fixed random order, so that the
first ones are a fair sample of all.
"""

import hashlib
import json
import shutil
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from smallgpt.data.corpora import Corpus
from smallgpt.data.encoding import build_encoder
from smallgpt.data.pipeline import PartEncoder, encode_parts
from smallgpt.data.progress import Progress
from smallgpt.data.tokenizers import Pretrained, TrainedBPE
from smallgpt.errors import UserError, one_line
from smallgpt.files import whole_folder
from smallgpt.machine.cores import available_cores

FORMAT = 1


@dataclass(frozen=True)
class PreparedData:
    """Prepared corpus; its arrays are opened where they are read."""

    directory: Path
    name: str
    fingerprint: str
    vocab_size: int
    eos_id: int
    train_tokens: int
    train_documents: int
    train_bytes: int
    validation_tokens: int
    validation_documents: int
    validation_bytes: int

    @property
    def tokenizer_dir(self) -> Path:
        return self.directory / "tokenizer"

    def train(self) -> np.ndarray:
        """All training tokens, EOT first and last, as a read-only memory map."""
        return self._tokens("train.bin")

    def validation(self) -> np.ndarray:
        """All held-out tokens, EOT first and last, as a read-only memory map."""
        return self._tokens("validation.bin")

    def held_out(self, limit: int | None = None) -> tuple[int, int, int]:
        """Number of documents, targets and bytes of the first whole documents within `limit` targets.

        The targets are the tokens after the first EOT, closing EOTs included; at least one
        document.
        """
        ends = np.load(self.directory / "validation_ends.npy")
        lengths = np.load(self.directory / "validation_bytes.npy")
        count = len(ends)
        if limit is not None:
            count = max(1, int(np.searchsorted(ends, limit, side="right")))
        return count, int(ends[count - 1]), int(lengths[:count].sum())

    def held_out_documents(self, limit: int | None = None) -> list[tuple[np.ndarray, int]]:
        """Tokens, without any EOT, and number of bytes of each document that `held_out` counts."""
        count, _, _ = self.held_out(limit)
        ends = np.load(self.directory / "validation_ends.npy")[:count]
        lengths = np.load(self.directory / "validation_bytes.npy")[:count]
        tokens, starts = self.validation(), [0, *ends[:-1]]
        return [(tokens[start + 1 : end], int(size)) for start, end, size in zip(starts, ends, lengths, strict=True)]

    def _tokens(self, name: str) -> np.ndarray:
        mapped = np.memmap(self.directory / name, dtype=token_type(self.vocab_size), mode="r")
        return mapped.view(np.ndarray)


def token_type(vocab_size: int) -> type[np.unsignedinteger]:
    """Smallest unsigned type of 16 or 32 bits that holds every token id."""
    return np.uint16 if vocab_size <= 1 << 16 else np.uint32


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
    cache_dir = Path(cache_dir).expanduser()
    corpus.check()
    tokenizer.check()
    fingerprint = data_fingerprint(corpus, tokenizer, cache_dir)
    directory = prepared_directory(corpus, fingerprint, cache_dir)
    if not (directory / "index.json").is_file():
        try:
            directory.parent.mkdir(parents=True, exist_ok=True)
            with _acquired(directory):
                if not (directory / "index.json").is_file():
                    _build(corpus, tokenizer, fingerprint, directory, progress, workers)
        except OSError as error:
            raise UserError(
                f"cache_dir={cache_dir}: cannot be written ({one_line(error)}); cache_dir=<a folder with space>"
            ) from error
    return open_prepared(directory)


def check_data(corpus: Corpus, tokenizer: TrainedBPE | Pretrained, cache_dir: str | Path) -> None:
    """Raises UserError for what `prepare` would refuse, as far as it can be seen in seconds."""
    cache_dir = Path(cache_dir).expanduser()
    corpus.check()
    tokenizer.check()
    directory = prepared_directory(corpus, data_fingerprint(corpus, tokenizer, cache_dir), cache_dir)
    if not (directory / "index.json").is_file():
        corpus.check_reachable()


def open_prepared(directory: Path) -> PreparedData:
    """The prepared corpus in a folder that `prepare` wrote."""
    index = json.loads((directory / "index.json").read_text())
    values = {name: index[name] for name in PreparedData.__dataclass_fields__ if name in index}
    return PreparedData(directory=directory, **values)


def data_fingerprint(corpus: Corpus, tokenizer: TrainedBPE | Pretrained, cache_dir: Path) -> str:
    """Fingerprint of 16 hexadecimal digits, which changes with the text, its split, the tokenizer or an option."""
    identity = [FORMAT, corpus.fingerprint(cache_dir), tokenizer.fingerprint()]
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
        print(f"waiting for another process that prepares {directory.name}", file=sys.stderr)
        return lock.acquire()


def _build(
    corpus: Corpus,
    tokenizer_settings: TrainedBPE | Pretrained,
    fingerprint: str,
    directory: Path,
    progress: bool,
    workers: int | None,
) -> None:
    """Writes the whole folder under another name, then gives it its own."""
    corpus.check_reachable()
    shutil.rmtree(directory, ignore_errors=True)  # not whole; the lock says that nobody writes there
    with whole_folder(directory) as partial:
        with Progress(f"tokenizer for {corpus.name}", None, progress):
            tokenizer = tokenizer_settings.build(corpus)
        tokenizer.save_pretrained(partial / "tokenizer")
        encode = PartEncoder(build_encoder(tokenizer), tokenizer.eos_token_id, token_type(len(tokenizer)))
        counts = write_tokens(corpus, encode, partial, progress, workers or available_cores())
        index = {
            "name": corpus.name,
            "fingerprint": fingerprint,
            "vocab_size": len(tokenizer),
            "eos_id": tokenizer.eos_token_id,
            **counts,
            "origin": corpus.origin(),
            "data": corpus.model_dump(),
            "tokenizer": tokenizer_settings.model_dump(),
        }
        (partial / "index.json").write_text(json.dumps(index, indent=2) + "\n")


def write_tokens(corpus: Corpus, encode: PartEncoder, folder: Path, progress: bool, workers: int) -> dict[str, int]:
    counts = {"train_tokens": 1, "train_documents": 0, "train_bytes": 0}
    held_out: list[np.ndarray] = []
    lengths: list[int] = []
    with (
        Progress(f"tokens of {corpus.name}", corpus.size(), progress) as bar,
        (folder / "train.bin").open("wb") as file,
    ):
        for encoded in encode_parts(corpus.parts(), encode, workers):
            encoded.train.tofile(file)
            counts["train_tokens"] += len(encoded.train)
            counts["train_documents"] += encoded.train_documents
            counts["train_bytes"] += encoded.train_bytes
            held_out += encoded.validation
            lengths += encoded.validation_bytes
            bar.advance(encoded.size)
        np.array([encode.eos_id], encode.token_type).tofile(file)
    if not counts["train_documents"] or not held_out:
        missing = "validation" if counts["train_documents"] else "training"
        raise UserError(
            f"data={corpus.name}: {counts['train_documents'] + len(held_out)} documents leave the "
            f"{missing} split empty; give more documents, or raise data.holdout={corpus.holdout}"
        )
    return counts | _write_held_out(held_out, lengths, encode, folder)


def _write_held_out(
    documents: list[np.ndarray], lengths: list[int], encode: PartEncoder, folder: Path
) -> dict[str, int]:
    order = np.random.default_rng(0).permutation(len(documents))
    end = np.array([encode.eos_id], encode.token_type)
    pieces = [end]
    for place in order:
        pieces += (documents[place], end)
    tokens = np.concatenate(pieces)
    tokens.tofile(folder / "validation.bin")
    np.save(folder / "validation_ends.npy", np.cumsum([len(documents[place]) + 1 for place in order]))
    np.save(folder / "validation_bytes.npy", np.array(lengths, dtype=np.int64)[order])
    return {
        "validation_tokens": len(tokens),
        "validation_documents": len(documents),
        "validation_bytes": sum(lengths),
    }
