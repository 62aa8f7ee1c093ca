"""Duplicates: equal documents in a corpus of any size, and in small corpora nearly equal ones.

Two documents are nearly equal where the sets of their 5-word runs have a Jaccard similarity of about 0.7 or more, by
MinHash and locality-sensitive hashing (`datasketch`). Of duplicates the first stays. What is still largely contained in
the training text (tables with one layout, files made from one template) is trained on, not held out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from smallgpt.data.corpus_parts import CorpusPart, Split, document_hash
from smallgpt.data.grams import N, distinct, occurs, word_grams, word_grams_of_texts
from smallgpt.data.overlap import LIMIT

SHINGLE = 5
SIMILARITY = 0.7
PERMUTATIONS, SCHEME = 128, "affine32"
# Of LSH: 16 bands of 8 minima find half of the pairs whose similarity is 0.7.
BANDS = (16, 8)
# A held-out document with a larger share of its 13-grams in the training text is moved there; the limit is halved, down
# to the least, until all of the held-out text together keeps well below the share that is warned of.
COVERED, LEAST_COVERED = 0.05, 0.002
MERGE = 1 << 20
GRAMS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class Selection:
    """What becomes of documents beyond their split, by their hashes."""

    left_out: frozenset[int] = frozenset()
    trained_on: frozenset[int] = frozenset()
    """Of the held-out ones."""

    def __call__(self, split: Split, number: int) -> Split | None:
        """The split of a document; None: it is left out."""
        if number in self.left_out:
            return None
        return "train" if number in self.trained_on else split


EVERYTHING = Selection()


class Seen:
    """The hashes of all documents so far, at eight bytes each."""

    def __init__(self) -> None:
        self.sorted = np.empty(0, np.uint64)
        self.recent: set[int] = set()

    def new(self, hashes: np.ndarray) -> np.ndarray:
        """Which of the documents are not equal to an earlier one."""
        fresh = ~occurs(hashes, self.sorted)
        for place, number in enumerate(hashes.tolist()):
            if number in self.recent:
                fresh[place] = False
            elif fresh[place]:
                self.recent.add(number)
        if len(self.recent) > MERGE:
            recent = np.fromiter(self.recent, np.uint64, len(self.recent))
            self.sorted, self.recent = np.sort(np.concatenate((self.sorted, recent))), set()
        return fresh


@dataclass
class Sketches:
    """What near duplicates are found by, of the documents of one part."""

    size: int
    hashes: list[int] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    minima: list[np.ndarray | None] = field(default_factory=list)
    """MinHash of each; None of one that is too short to be nearly equal to another."""
    grams: list[np.ndarray] = field(default_factory=list)
    """The 13-grams of each."""


def sketch(part: CorpusPart) -> Sketches:
    found = Sketches(part.size)
    for split, text in part.documents():
        if text:
            found.hashes.append(document_hash(text))
            found.splits.append(split)
            found.minima.append(minima_of(text))
            found.grams.append(word_grams(text, N))
    return found


def minima_of(text: str) -> np.ndarray | None:
    """MinHash of a text of any length; None where it is too short to be nearly equal to another."""
    shingles = distinct(word_grams(text, SHINGLE) >> np.uint64(32)).tolist()
    if not shingles:
        return None
    minima = _empty().copy()
    for start in range(0, len(shingles), GRAMS_AT_ONCE):
        minima.update_batch(shingles[start : start + GRAMS_AT_ONCE])
    return minima.digest()


def minima_of_texts(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """MinHash of many short texts at once, the same numbers as those of each alone.

    Returns the places of the texts that are long enough to be nearly equal to another, and a row for each.
    """
    multipliers, offsets = _empty().permutations
    places, rows = [np.empty(0, np.int64)], [np.empty((0, PERMUTATIONS), np.uint32)]
    for start, grams, counts in word_grams_of_texts(texts, SHINGLE):
        some = np.flatnonzero(counts)
        if not len(some):
            continue
        begins = np.cumsum(counts[some]) - counts[some]
        hashes = _mixed32((grams >> np.uint64(32)).astype(np.uint32))
        drawn = [np.minimum.reduceat(hashes * a + b, begins) for a, b in zip(multipliers, offsets, strict=True)]
        places.append(start + some)
        rows.append(np.stack(drawn, axis=1))
    return np.concatenate(places), np.concatenate(rows)


def _mixed32(numbers: np.ndarray) -> np.ndarray:
    """Each number with all of its bits depending on all of its bits: the last step of MurmurHash3, as `datasketch`."""
    numbers = (numbers ^ (numbers >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    numbers = (numbers ^ (numbers >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return numbers ^ (numbers >> np.uint32(16))


@cache
def _empty() -> Any:
    """A MinHash to copy: its permutations are drawn once, which takes longer than a short document."""
    from datasketch import MinHash

    return MinHash(PERMUTATIONS, hashfunc=int, scheme=SCHEME)


def select(parts: Iterable[Sketches], official: bool) -> Selection:
    """Leaves out near duplicates; without official splits, moves what training covers out of the held-out text."""
    from datasketch import LeanMinHash, MinHashLSH

    index = MinHashLSH(num_perm=PERMUTATIONS, params=BANDS)
    known: dict[Any, LeanMinHash] = {}
    left_out: set[int] = set()
    kept: dict[int, tuple[Split, np.ndarray]] = {}
    for part in parts:
        for number, split, minima, grams in zip(part.hashes, part.splits, part.minima, part.grams, strict=True):
            if number in kept or number in left_out:
                continue
            if minima is not None:
                own = LeanMinHash(seed=1, hashvalues=minima, scheme=SCHEME)
                if any(own.jaccard(known[other]) >= SIMILARITY for other in index.query(own)):
                    left_out.add(number)
                    continue
                index.insert(number, own)
                known[number] = own
            kept[number] = split, grams
    return Selection(frozenset(left_out), frozenset() if official else frozenset(_covered(kept)))


def near_groups(texts: Sequence[str], near: bool = True) -> list[int]:
    """Number of a group for each text: equal texts share one, and with `near` those that are nearly equal too.

    The number is the place of the group's first text. A chain of near duplicates is one group. Of the texts that fall
    together in a band each is compared with the first and with the one before it.
    """
    first = list(range(len(texts)))
    places: dict[str, int] = {}
    for place, text in enumerate(texts):
        first[place] = places.setdefault(text, place)
    some, minima_NP = minima_of_texts(list(places) if near else [])
    if len(some):
        numbers = np.array(list(places.values()))[some]
        bands, rows = BANDS
        for band in range(bands):
            keys = np.ascontiguousarray(minima_NP[:, band * rows : (band + 1) * rows])
            _, key_N = np.unique(keys.view(f"V{keys.itemsize * rows}")[:, 0], return_inverse=True)
            order = np.argsort(key_N, kind="stable")
            begins = np.concatenate(([True], np.diff(key_N[order]) > 0))
            heads = order[np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))]
            for other in (heads, np.roll(order, 1)):
                together = np.flatnonzero(~begins)
                alike = (minima_NP[order[together]] == minima_NP[other[together]]).mean(1) >= SIMILARITY
                for one, two in zip(order[together[alike]], other[together[alike]], strict=True):
                    join(first, int(numbers[one]), int(numbers[two]))
    return [root(first, place) for place in range(len(texts))]


def root(first: list[int], place: int) -> int:
    """The first member of the group that a place belongs to, in a forest that is made flat on the way."""
    while first[place] != place:
        first[place] = first[first[place]]
        place = first[place]
    return place


def join(first: list[int], one: int, other: int) -> None:
    """Makes one group of two, under the earlier of their first members."""
    a, b = root(first, one), root(first, other)
    first[max(a, b)] = min(a, b)


def _covered(documents: dict[int, tuple[Split, np.ndarray]]) -> set[int]:
    """Finds held-out documents that training text covers, so that the rest overlaps little; none if that is most."""
    train = [grams for split, grams in documents.values() if split == "train"]
    held_out = {number: grams for number, (split, grams) in documents.items() if split == "validation" and len(grams)}
    number_of_documents, moved = len(held_out), set()
    known, most = distinct(np.concatenate([np.empty(0, np.uint64), *train])), COVERED
    while 2 * len(moved) <= number_of_documents and most > LEAST_COVERED:
        hits = {number: occurs(grams, known) for number, grams in held_out.items()}
        found = [number for number, hit in hits.items() if hit.mean() > most]
        if found:  # what is moved may cover others
            moved.update(found)
            known = distinct(np.concatenate((known, *(held_out.pop(number) for number in found))))
        elif not hits or np.concatenate(list(hits.values())).mean() <= LIMIT / 2:
            return moved
        else:
            most /= 2
    return moved if 2 * len(moved) <= number_of_documents else set()
