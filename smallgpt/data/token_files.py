"""Token files of a corpus: its documents are read, freed of duplicates, encoded and written split by split.

Held-out documents lie in a fixed random order, so that the first ones are a fair sample of all. How much of the
held-out text occurs in the training text is measured.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from smallgpt.data.corpora import Corpus
from smallgpt.data.duplicates import Seen, Selection, Sketches, select, sketch
from smallgpt.data.overlap import OverlapMeter
from smallgpt.data.pipeline import Documents, EncodedPart, PartEncoder, in_parallel
from smallgpt.data.prepared_data import HeldOutSplit
from smallgpt.data.progress import Progress
from smallgpt.errors import UserError

COUNTED = ("train_tokens", "train_documents", "train_bytes", "exact_duplicates", "near_duplicates", "without_text")


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


def write_tokens(
    corpus: Corpus, encode: PartEncoder, parts: Iterable[EncodedPart], folder: Path, progress: bool
) -> dict[str, Any]:
    """Writes the tokens of all documents that are neither left out nor equal to an earlier one; returns the counts."""
    counts = dict.fromkeys(COUNTED, 0)
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
        for encoded in parts:
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
            counts["without_text"] += encoded.without_text
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
