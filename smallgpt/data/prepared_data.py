"""Prepared data: the folder of a corpus as tokens, opened only where it is what its index says.

index.json               counts, names, origin, fingerprint, and the hash of each other file
train.bin validation.bin tokens, uint16 or uint32: EOT doc EOT doc ... EOT
validation_ends.npy      after which token each held-out document's closing EOT comes
validation_bytes.npy     UTF-8 bytes of each held-out document
test.*, test_*           the same of the official test split, where there is one
tokenizer/               what AutoTokenizer.from_pretrained loads
"""

import json
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_type_hints

import numpy as np

from smallgpt.data.content_hash import content_hash, hash_of
from smallgpt.data.encoding import build_encoder
from smallgpt.data.overlap import LIMIT
from smallgpt.errors import UserError, one_line

INDEX = "index.json"
TOKENIZER = "tokenizer"
HeldOutSplit = Literal["validation", "test"]
PIECE_TOKENS = 1 << 18
HASHED_BYTES = 1 << 28
"""Larger files are compared by their size alone when they are opened: to read them would delay every run."""


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
    without_text: int = 0
    """Documents that were left out because they are empty: a row without text, such as null."""

    @property
    def bits_per_byte_comparable(self) -> bool:
        """Whether bits per byte may be compared with those of other tokenizers: no text was lost."""
        return self.lost_characters == 0

    @property
    def tokenizer_dir(self) -> Path:
        return self.directory / TOKENIZER

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
        if self.without_text:
            found.append(f"data={self.name}: left out, without text (null or empty): {self.without_text:,} documents")
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


def write_index(folder: Path, values: dict[str, Any]) -> None:
    """Writes index.json of a folder whose other files are complete, with the size and hash of each."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": hash_of(path)} for path in paths
    }
    (folder / INDEX).write_text(json.dumps({**values, "files": files}, indent=2) + "\n")


def open_prepared(directory: Path) -> PreparedData:
    """The prepared corpus in a folder that `prepare` wrote. Raises UserError, one line, where it is damaged."""
    try:
        index = read_index(directory)
        kinds = get_type_hints(PreparedData)
        values = {name: index[name] for name in kinds if name in index}
        for name, value in values.items():
            if not isinstance(value, kinds[name]):
                raise Damaged(INDEX, f"{name} is {json.dumps(value)}")
        prepared = PreparedData(directory=directory, **values)
        check_sizes(prepared)
        check_files(directory, index.get("files", {}))
    except Damaged as damage:
        raise UserError(
            f"{directory / damage.name}: damaged ({damage.reason}); remove {directory}, and it is prepared again"
        ) from None
    return prepared


class Damaged(Exception):
    """A file of prepared data is not what was written."""

    def __init__(self, name: str, reason: str):
        self.name, self.reason = name, reason


def read_index(directory: Path) -> dict[str, Any]:
    """Reads index.json. Raises Damaged where it is cut or lacks something."""
    try:
        index = json.loads((directory / INDEX).read_bytes())
    except FileNotFoundError:
        raise Damaged(INDEX, "it is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise Damaged(INDEX, one_line(error)) from None
    needed = {field.name for field in fields(PreparedData) if field.default is MISSING} - {"directory"}
    if not isinstance(index, dict) or not isinstance(index.get("files", {}), dict):
        raise Damaged(INDEX, "it holds no index")
    if missing := sorted(needed - index.keys()):
        raise Damaged(INDEX, f"it lacks {missing[0]}")
    return index


def check_sizes(prepared: PreparedData) -> None:
    """Raises Damaged where the token files are not as long as the counts of the index say."""
    width = np.dtype(token_type(prepared.vocab_size)).itemsize
    for split in ("train", "validation", "test"):
        tokens = getattr(prepared, f"{split}_tokens")
        if tokens:
            check_size(prepared.directory, f"{split}.bin", tokens * width)


def check_size(directory: Path, name: str, right: int) -> None:
    """Raises Damaged where a file is missing or has another size."""
    try:
        size = (directory / name).stat().st_size
    except OSError:
        raise Damaged(name, "it is missing") from None
    if size != right:
        raise Damaged(name, f"it has {size:,} bytes, and {INDEX} says {right:,}")


def check_files(directory: Path, recorded: dict[str, Any]) -> None:
    """Raises Damaged for the first file whose size or content is not what the index has recorded."""
    for name, said in recorded.items():
        match said:
            case {"bytes": int(size), "sha256": str(content)}:
                check_size(directory, name, size)
            case _:
                raise Damaged(INDEX, f"what it says of {name}")
        if size <= HASHED_BYTES and content_hash(directory / name, directory.parents[1]) != content:
            raise Damaged(name, "its content has changed since it was written")


def prepared_of(fingerprint: str | None, cache_dir: Path) -> PreparedData | str:
    """The prepared corpus with a fingerprint, or why there is none."""
    folders = [index.parent for index in (cache_dir / "prepared").glob(f"*-{fingerprint}/{INDEX}")]
    if not folders:
        return f"the prepared data of the runs is not in cache_dir={cache_dir}"
    try:
        return open_prepared(folders[0])
    except UserError as error:
        return str(error)
