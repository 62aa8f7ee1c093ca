"""Overlap of a text with the training text: the share of its 13-grams, runs of 13 words, that occur there too.

Of a large corpus a sample is looked at, those grams whose number has the last bits zero: the same grams of both texts,
so the share is that of all of them, as near as a sample is, at a constant size.
"""

from collections.abc import Iterable

import numpy as np

from smallgpt.data.grams import distinct, occurs

MOST_GRAMS = 1 << 23  # different ones of the training text, 64 MiB
BYTES_A_GRAM = 6
LIMIT = 0.01
"""A larger share of held-out text is warned of."""


def sampled(grams: np.ndarray, every: int) -> np.ndarray:
    """The grams of the sample that takes one in `every`, a power of two."""
    return grams if every == 1 else grams[grams & np.uint64(every - 1) == 0]


def sampling_of(size: int | None) -> int:
    """For a text of `size` bytes: one gram in so many, so that they do not exceed `MOST_GRAMS`."""
    return 1 << max(0, ((size or 0) // (BYTES_A_GRAM * MOST_GRAMS)).bit_length())


class OverlapMeter:
    """Collects 13-grams of training and held-out documents as they come, and compares them at the end."""

    def __init__(self, every: int):
        self.every = every
        self.held_out: list[np.ndarray] = []
        self.training: list[np.ndarray] = []
        self.waiting = 0

    def add_training(self, grams: np.ndarray) -> None:
        self.training.append(sampled(grams, self.every))
        self.waiting += len(self.training[-1])
        if self.waiting > 2 * MOST_GRAMS:
            self._merge()

    def add_held_out(self, grams: np.ndarray) -> None:
        self.held_out.append(grams)

    def share(self) -> float | None:
        """Of the held-out grams, each as often as it occurs; None where there are none."""
        self._merge()
        held_out = sampled(joined(self.held_out), self.every)
        return float(occurs(held_out, self.training[0]).mean()) if len(held_out) else None

    def _merge(self) -> None:
        known = distinct(joined(self.training))
        while len(known) > MOST_GRAMS:
            self.every *= 2
            known = sampled(known, self.every)
        self.training, self.waiting = [known], len(known)


def joined(arrays: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, np.uint64), *arrays])
