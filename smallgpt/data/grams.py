"""Word n-grams of a text as numbers, by which texts are compared: for near duplicates, and for held-out overlap.

A word is a run of letters, digits and underscores in lower case; in scripts that have no spaces, a single character.
What stands between words does not count. Equal grams give equal numbers in every process and on every machine.
"""

import sys
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

N = 13  # words of the grams by which held-out text is looked for in training text, as GPT-3 did
PIECE_CHARACTERS = 1 << 20  # of a long text; grams across the cut are left out
BETWEEN, WORD, ALONE = 0, 1, 2
# Thai to Lao, Burmese, kana, Chinese characters
WITHOUT_SPACES = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF))
FACTOR = 0x9E3779B97F4A7C15
LONGEST_WORD = 64
INVERSE = pow(FACTOR, -1, 1 << 64)


def word_grams(text: str, n: int) -> np.ndarray:
    """Numbers of all runs of `n` words in the order of the text, uint64; none where it has fewer words."""
    pieces = [text[start : start + PIECE_CHARACTERS] for start in range(0, len(text), PIECE_CHARACTERS)]
    found = [_runs(_words(piece)[0], n) for piece in pieces]
    return np.concatenate(found) if found else np.empty(0, np.uint64)


def word_grams_of_texts(texts: Sequence[str], n: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The grams of many short texts, of as many at a time as are quick to read together.

    Yields the place of the first text, the grams of one text behind the other, and how many each has.
    """
    start = 0
    while start < len(texts):
        stop, size = start + 1, len(texts[start])
        while stop < len(texts) and size + len(texts[stop]) <= PIECE_CHARACTERS:
            size += len(texts[stop])
            stop += 1
        yield start, *_grams_of_texts(texts[start:stop], n)
        start = stop


def _grams_of_texts(texts: Sequence[str], n: int) -> tuple[np.ndarray, np.ndarray]:
    if len(texts) == 1:  # which may be long
        grams = word_grams(texts[0], n)
        return grams, np.array([len(grams)])
    lowered = [text.lower() for text in texts]
    words, places = _words("\n".join(lowered))
    begins = np.cumsum([0, *(len(text) + 1 for text in lowered[:-1])])
    owner = np.searchsorted(begins, places, side="right") - 1
    grams = _runs(words, n)
    whole = owner[: len(grams)] == owner[n - 1 :][: len(grams)]  # the others lie across the end of a text
    return grams[whole], np.bincount(owner[: len(grams)][whole], minlength=len(texts))


def _words(text: str) -> tuple[np.ndarray, np.ndarray]:
    """A number for each word, a polynomial of its characters, and where it begins in the text's small letters."""
    text = text.lower()
    if text.isascii():
        points = np.frombuffer(text.encode(), np.uint8)
    else:
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = _kinds()[points]
    of_word, first = kinds == WORD, kinds == ALONE
    first |= of_word
    first[1:] &= ~of_word[:-1] | (kinds[1:] == ALONE)
    starts = np.flatnonzero(first)
    if not len(starts):
        return np.empty(0, np.uint64), starts
    values = points.astype(np.uint64)
    values += np.uint64(1)
    values *= kinds != BETWEEN
    return _polynomials(values, starts), starts


def _polynomials(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """For each piece, from its start to that of the next one, the sum of value times FACTOR ** (place in it + 1).

    From its 64th place on the power stays the same. The powers go on over all values, and each sum is divided by the
    power of its start: FACTOR is odd, so it has an inverse modulo 2 ** 64.
    """
    sums = np.add.reduceat(values * _powers(FACTOR, len(values)), starts)
    sums *= _powers(INVERSE, len(values))[starts] * np.uint64(FACTOR)
    ends = np.append(starts[1:], len(values))
    for piece in np.flatnonzero(ends - starts > LONGEST_WORD):
        long = values[starts[piece] : ends[piece]]
        powers = _powers(FACTOR, LONGEST_WORD)[np.minimum(np.arange(len(long)), LONGEST_WORD - 1)]
        sums[piece] = np.add.reduce(long * powers)
    return sums


def _runs(words: np.ndarray, n: int) -> np.ndarray:
    number = len(words) - n + 1
    if number < 1:
        return np.empty(0, np.uint64)
    sums = np.zeros(len(words) + 1, np.uint64)
    np.cumsum(_mixed(words) * _powers(FACTOR, len(words)), out=sums[1:])
    return _mixed((sums[n:] - sums[:number]) * _powers(INVERSE, len(words))[:number] * np.uint64(FACTOR))


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Each number with all of its bits depending on all of its bits (SplitMix64)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _powers(base: int, number: int) -> np.ndarray:
    """The first powers of an odd number modulo 2 ** 64, from the first one on."""
    return _powers_at_least(base, 1 << (number - 1).bit_length())[:number]


@cache
def _powers_at_least(base: int, number: int) -> np.ndarray:
    return np.cumprod(np.full(number, base, np.uint64))


@cache
def _kinds() -> np.ndarray:
    """What each character is: between words, of a word, or a word alone."""
    characters = map(chr, range(sys.maxunicode + 1))
    kinds = np.fromiter((WORD if c.isalnum() or c == "_" else BETWEEN for c in characters), np.uint8)
    for start, stop in WITHOUT_SPACES:
        kinds[start : stop + 1] *= ALONE
    return kinds


def occurs(numbers: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which of the numbers are among the known ones, which are in order."""
    if not len(known):
        return np.zeros(len(numbers), bool)
    return known[np.minimum(np.searchsorted(known, numbers), len(known) - 1)] == numbers


def distinct(numbers: np.ndarray) -> np.ndarray:
    """The different ones among the numbers, in order; numpy's own `unique` hashes and is far slower on these."""
    ordered = np.sort(numbers)
    return ordered[np.concatenate((np.ones(len(ordered[:1]), bool), ordered[1:] != ordered[:-1]))]
