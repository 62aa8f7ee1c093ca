"""Encodes parts with several processes, in the order of the parts.

A worker reads a part's text itself and sends back finished token arrays, a quarter of the text's
size, so that the process that writes has little to do.
"""

import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from smallgpt.data.corpus_parts import CorpusPart
from smallgpt.data.encoding import Encoder


@dataclass
class Encoded:
    """The tokens of one part: `train` is EOT doc EOT doc ..., `validation` one array a document."""

    size: int
    train: np.ndarray
    train_documents: int = 0
    train_bytes: int = 0
    validation: list[np.ndarray] = field(default_factory=list)
    validation_bytes: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class PartEncoder:
    """Reads and encodes one part; the same in this process and in a worker."""

    encoder: Encoder
    eos_id: int
    token_type: type[np.unsignedinteger]

    def __call__(self, part: CorpusPart) -> Encoded:
        end = np.array([self.eos_id], dtype=np.uint32)
        train: list[np.ndarray] = []
        encoded = Encoded(part.size, end)
        for split, text in part.documents():
            if not text:
                continue
            tokens = self.encoder(text)
            length = len(text) if text.isascii() else len(text.encode())
            if split == "train":
                train += (end, tokens)
                encoded.train_documents += 1
                encoded.train_bytes += length
            else:
                encoded.validation.append(tokens.astype(self.token_type))
                encoded.validation_bytes.append(length)
        joined = np.concatenate(train) if train else end[:0]
        encoded.train = joined.astype(self.token_type)
        return encoded


def encode_parts(parts: Iterable[CorpusPart], encode: PartEncoder, workers: int) -> Iterator[Encoded]:
    if workers == 1:
        yield from map(encode, parts)
        return
    # A fork starts at once and shares the vocabulary; elsewhere a fork is not safe.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (encode,)) as pool:
        waiting: deque[Future[Encoded]] = deque()
        try:
            for part in parts:
                waiting.append(pool.submit(_work, part))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


_encode: PartEncoder


def _start_worker(encode: PartEncoder) -> None:
    global _encode
    _encode = encode
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    # Else a worker of a killed process would wait for work for ever, holding its lock.
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def _work(part: CorpusPart) -> Encoded:
    return _encode(part)
