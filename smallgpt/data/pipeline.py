"""Works on the parts of a corpus with several processes, in the order of the parts; encodes them.

A worker reads a part's text itself and sends back finished arrays, a quarter of the text's size, so
that the process that writes has little to do.
"""

import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from smallgpt.data.corpus_parts import CorpusPart, Split, document_hash
from smallgpt.data.duplicates import EVERYTHING, Selection
from smallgpt.data.encoding import Encoder, lost_characters
from smallgpt.data.grams import N, word_grams
from smallgpt.data.overlap import sampled
from smallgpt.errors import UserError

Result = TypeVar("Result")
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Documents:
    """Encoded documents of one split, joined: `tokens` is EOT doc EOT doc ...; one number a document elsewhere."""

    tokens: np.ndarray
    lengths: np.ndarray
    """Tokens of each, with its EOT."""
    bytes: np.ndarray
    """UTF-8 bytes of each."""
    hashes: np.ndarray
    lost: np.ndarray
    """Characters of each that its tokens do not give back; counted for held-out documents alone."""
    grams: np.ndarray
    """13-grams, or a sample of them, document after document."""
    gram_counts: np.ndarray

    def only(self, kept: np.ndarray) -> "Documents":
        """The documents for which `kept` is true."""
        if kept.all():
            return self
        tokens, grams = self.tokens[np.repeat(kept, self.lengths)], self.grams[np.repeat(kept, self.gram_counts)]
        numbers = (each[kept] for each in (self.lengths, self.bytes, self.hashes, self.lost))
        return Documents(tokens, *numbers, grams, self.gram_counts[kept])


@dataclass(frozen=True)
class EncodedPart:
    size: int
    documents: dict[Split, Documents]
    left_out: int
    """Near duplicates."""
    without_text: int
    """Empty documents."""


@dataclass(frozen=True)
class PartEncoder:
    """Reads and encodes one part; the same in this process and in a worker."""

    encoder: Encoder
    eos_id: int
    token_type: type[np.unsignedinteger]
    selection: Selection = EVERYTHING
    every: int = 1
    """One 13-gram in so many is kept."""

    def __call__(self, part: CorpusPart) -> EncodedPart:
        rows: dict[Split, list[tuple[np.ndarray, int, int, int, np.ndarray]]] = {split: [] for split in SPLITS}
        left_out = without_text = 0
        for split, text in part.documents():
            if not text:
                without_text += 1
                continue
            number = document_hash(text)
            where = self.selection(split, number)
            if where is None:
                left_out += 1
                continue
            tokens = self.encoder(text)
            lost = lost_characters(text, self.encoder.decode(tokens)) if where != "train" else 0
            length = len(text) if text.isascii() else len(text.encode())
            rows[where].append((tokens, length, number, lost, sampled(word_grams(text, N), self.every)))
        documents = {split: self._joined(found) for split, found in rows.items()}
        return EncodedPart(part.size, documents, left_out, without_text)

    def _joined(self, rows: list[tuple[np.ndarray, int, int, int, np.ndarray]]) -> Documents:
        end = np.array([self.eos_id], self.token_type)
        pieces = [piece for tokens, *_ in rows for piece in (end, tokens.astype(self.token_type))]
        return Documents(
            np.concatenate(pieces) if pieces else end[:0],
            np.array([len(tokens) + 1 for tokens, *_ in rows], np.int64),
            np.array([row[1] for row in rows], np.int64),
            np.array([row[2] for row in rows], np.uint64),
            np.array([row[3] for row in rows], np.int64),
            np.concatenate([np.empty(0, np.uint64), *(row[4] for row in rows)]),
            np.array([len(row[4]) for row in rows], np.int64),
        )


def in_parallel(work: Callable[[CorpusPart], Result], parts: Iterable[CorpusPart], workers: int) -> Iterator[Result]:
    """What `work`, which must be picklable, makes of each part."""
    if workers == 1:
        yield from map(work, parts)
        return
    # A fork starts at once and shares the vocabulary; elsewhere a fork is not safe.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (work,)) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for part in parts:
                waiting.append(pool.submit(_do_work, part))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                "data: a process that read it was killed, as the system does where memory is full; free some, or give "
                "the text in smaller files"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


_work: Callable[[CorpusPart], Any]


def _start_worker(work: Callable[[CorpusPart], Any]) -> None:
    global _work
    _work = work
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    # Else a worker of a killed process would wait for work for ever, holding its lock.
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def _do_work(part: CorpusPart) -> Any:
    return _work(part)
