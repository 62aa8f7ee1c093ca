"""Prepares a corpus once: memory-mapped token files in a user cache, under a fingerprint.

    <cache_dir>/prepared/<name>-<fingerprint>/
        index.json               counts, names, origin, fingerprint; says that the folder is whole
        train.bin validation.bin tokens, uint16 or uint32: EOT doc EOT doc ... EOT
        validation_ends.npy      after which token each held-out document's closing EOT comes
        validation_bytes.npy     UTF-8 bytes of each held-out document
        test.*, test_*           the same of the official test split, where there is one
        tokenizer/               what AutoTokenizer.from_pretrained loads

The folder is written under another name and renamed at the end; a lock that dies with its process
makes others wait for the result. Held-out documents lie in a fixed random order, so that the
first ones are a fair sample of all. Duplicates are left out before the split, as `data.dedupe` says,
and how much of the held-out text occurs in the training text is measured.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock, Timeout

from smallgpt.data.corpora import Corpus
from smallgpt.data.duplicates import Seen, Selection, Sketches, select, sketch
from smallgpt.data.encoding import build_encoder
from smallgpt.data.overlap import LIMIT, OverlapMeter, sampling_of
from smallgpt.data.pipeline import Documents, PartEncoder, in_parallel
from smallgpt.data.progress import Progress
from smallgpt.data.tokenizers import SAMPLE_CHARACTERS, Pretrained, TrainedBPE
from smallgpt.errors import UserError, one_line
from smallgpt.files import whole_folder
from smallgpt.machine.cores import available_cores

FORMAT = 3
HeldOutSplit = Literal["validation", "test"]
PIECE_TOKENS = 1 << 18


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
    test_tokens: int
    test_documents: int
    """0 where the corpus has no official test split."""
    test_bytes: int
    dedupe: str
    """near, exact or none: which duplicates were left out."""
    exact_duplicates: int
    near_duplicates: int
    moved_to_training: int
    """Documents that would have been held out, but are largely in the training text."""
    overlap: float | None
    """Share of the held-out 13-grams that occur in the training text; None where no document is that long."""
    overlap_sample: int
    """One 13-gram in so many was compared."""
    lost_characters: int
    """Of the held-out text, what its tokens do not give back."""

    @property
    def bits_per_byte_comparable(self) -> bool:
        """Whether bits per byte may be compared with those of other tokenizers: no text was lost."""
        return self.lost_characters == 0

    @property
    def tokenizer_dir(self) -> Path:
        return self.directory / "tokenizer"

    def section(self) -> dict[str, Any]:
        """The section `data` of a result."""
        values = {key: value for key, value in asdict(self).items() if key not in ("directory", "name", "fingerprint")}
        return {"corpus": self.name, "directory": str(self.directory), **values}

    def warnings(self) -> list[str]:
        """What a reader of the scores should know, a line each."""
        found = []
        if self.overlap is not None and self.overlap > LIMIT:
            advice = "data.dedupe=near leaves duplicates out" if self.dedupe != "near" else "hold out other text"
            found.append(
                f"data={self.name}: {self.overlap:.1%} of the held-out 13-grams occur in the training text, over "
                f"{LIMIT:.0%}: the score is in part memory; {advice}"
            )
        if self.lost_characters:
            found.append(
                f"tokenizer: {self.lost_characters:,} characters of the "
                f"{self.validation_bytes + self.test_bytes:,} held-out bytes are "
                "lost; bits per byte are not comparable with those of other tokenizers"
            )
        return found

    def train(self) -> np.ndarray:
        """All training tokens, EOT first and last, as a read-only memory map."""
        return self._tokens("train.bin")

    def validation(self) -> np.ndarray:
        """All held-out tokens, EOT first and last, as a read-only memory map."""
        return self._tokens("validation.bin")

    def training_text(self, most_tokens: int) -> Iterator[tuple[str, int]]:
        """Pieces of the training text, each with its number of tokens; of a long text, from all over it."""
        from transformers import AutoTokenizer

        encoder = build_encoder(AutoTokenizer.from_pretrained(self.tokenizer_dir, trust_remote_code=False))
        tokens = self.train()
        stride = max(1, -(-len(tokens) // most_tokens))
        for start in range(0, len(tokens), stride * PIECE_TOKENS):
            piece = tokens[start : start + PIECE_TOKENS]
            yield encoder.decode(piece), len(piece)

    def held_out(self, limit: int | None = None, split: HeldOutSplit = "validation") -> tuple[int, int, int]:
        """Number of documents, targets and bytes of the first whole documents within `limit` targets.

        The targets are the tokens after the first EOT, closing EOTs included; at least one
        document.
        """
        ends = np.load(self.directory / f"{split}_ends.npy")
        lengths = np.load(self.directory / f"{split}_bytes.npy")
        count = len(ends)
        if limit is not None:
            count = max(1, int(np.searchsorted(ends, limit, side="right")))
        return count, int(ends[count - 1]), int(lengths[:count].sum())

    def held_out_documents(
        self, limit: int | None = None, split: HeldOutSplit = "validation"
    ) -> list[tuple[np.ndarray, int]]:
        """Tokens, without any EOT, and number of bytes of each document that `held_out` counts."""
        count, _, _ = self.held_out(limit, split)
        ends = np.load(self.directory / f"{split}_ends.npy")[:count]
        lengths = np.load(self.directory / f"{split}_bytes.npy")[:count]
        tokens, starts = self._tokens(f"{split}.bin"), [0, *ends[:-1]]
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


def prepared_of(fingerprint: str | None, cache_dir: Path) -> PreparedData | str:
    """The prepared corpus with a fingerprint, or why there is none."""
    folders = [index.parent for index in (cache_dir / "prepared").glob(f"*-{fingerprint}/index.json")]
    if not folders:
        return f"the prepared data of the runs is not in cache_dir={cache_dir}"
    try:
        return open_prepared(folders[0])
    except (OSError, ValueError, TypeError) as error:
        return f"{folders[0]} is damaged ({one_line(error)})"


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
    workers = workers or available_cores()
    shutil.rmtree(directory, ignore_errors=True)  # not whole; the lock says that nobody writes there
    with whole_folder(directory) as partial:
        selection = select_documents(corpus, progress, workers)
        with Progress(f"tokenizer for {corpus.name}", None, progress):
            tokenizer = tokenizer_settings.build(corpus.sample(SAMPLE_CHARACTERS, selection))
        tokenizer.save_pretrained(partial / "tokenizer")
        kind, every = token_type(len(tokenizer)), sampling_of(corpus.size())
        encode = PartEncoder(build_encoder(tokenizer), tokenizer.eos_token_id, kind, selection, every)
        counts = write_tokens(corpus, encode, partial, progress, workers)
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


def select_documents(corpus: Corpus, progress: bool, workers: int) -> Selection:
    """Looks for near duplicates where the corpus is to be without them."""
    if corpus.deduplication != "near":
        return Selection()

    def shown(sketches: Iterable[Sketches]) -> Iterator[Sketches]:
        for each in sketches:
            yield each
            bar.advance(each.size)

    with Progress(f"duplicates of {corpus.name}", corpus.size(), progress) as bar:
        return select(shown(in_parallel(sketch, corpus.parts(), workers)), corpus.has_splits)


def write_tokens(corpus: Corpus, encode: PartEncoder, folder: Path, progress: bool, workers: int) -> dict[str, Any]:
    """Writes the tokens of all documents that are neither left out nor equal to an earlier one; returns the counts."""
    counts = dict.fromkeys(("train_tokens", "train_documents", "train_bytes", "exact_duplicates", "near_duplicates"), 0)
    held_out: dict[HeldOutSplit, list[Documents]] = {"validation": [], "test": []}
    seen, meter = Seen(), OverlapMeter(encode.every)

    def without_equal(documents: Documents) -> Documents:
        if corpus.deduplication == "none":
            return documents
        new = seen.new(documents.hashes)
        counts["exact_duplicates"] += int((~new).sum())
        return documents.only(new)

    with (
        Progress(f"tokens of {corpus.name}", corpus.size(), progress) as bar,
        (folder / "train.bin").open("wb") as file,
    ):
        for encoded in in_parallel(encode, corpus.parts(), workers):
            for split, documents in held_out.items():
                documents.append(without_equal(encoded.documents[split]))
                meter.add_held_out(documents[-1].grams)
            train = without_equal(encoded.documents["train"])
            train.tokens.tofile(file)
            meter.add_training(train.grams)
            counts["train_tokens"] += len(train.tokens)
            counts["train_documents"] += len(train.lengths)
            counts["train_bytes"] += int(train.bytes.sum())
            counts["near_duplicates"] += encoded.left_out
            bar.advance(encoded.size)
        np.array([encode.eos_id], encode.token_type).tofile(file)
        counts["train_tokens"] += 1
    number = sum(len(each.lengths) for each in held_out["validation"])
    if not counts["train_documents"] or not number:
        missing, other = ("validation", "raise") if counts["train_documents"] else ("training", "lower")
        twice = counts["exact_duplicates"] + counts["near_duplicates"]
        raise UserError(
            f"data={corpus.name}: {counts['train_documents'] + number} documents, without {twice} duplicates, leave "
            f"the {missing} split empty; give more documents, or {other} data.holdout={corpus.holdout}"
        )
    return {
        **counts,
        **{key: count for split, parts in held_out.items() for key, count in write_split(split, parts, encode, folder)},
        "lost_characters": int(sum(part.lost.sum() for parts in held_out.values() for part in parts)),
        "dedupe": corpus.deduplication,
        "moved_to_training": len(encode.selection.trained_on),
        "overlap": meter.share(),
        "overlap_sample": meter.every,
    }


def write_split(
    split: HeldOutSplit, parts: list[Documents], encode: PartEncoder, folder: Path
) -> Iterator[tuple[str, int]]:
    """Writes the documents of a held-out split in a random order, always the same; yields its counts."""
    lengths, sizes = (np.concatenate([getattr(part, name) for part in parts]) for name in ("lengths", "bytes"))
    if len(lengths):
        documents = np.split(np.concatenate([part.tokens for part in parts]), np.cumsum(lengths)[:-1])
        order = np.random.default_rng(0).permutation(len(documents))
        tokens = np.concatenate([*(documents[place] for place in order), np.array([encode.eos_id], encode.token_type)])
        tokens.tofile(folder / f"{split}.bin")
        np.save(folder / f"{split}_ends.npy", np.cumsum(lengths[order]))
        np.save(folder / f"{split}_bytes.npy", sizes[order])
    yield f"{split}_tokens", int(lengths.sum()) + bool(len(lengths))
    yield f"{split}_documents", len(lengths)
    yield f"{split}_bytes", int(sizes.sum())
