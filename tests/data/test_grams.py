"""Numbers of word n-grams are those of their definition, for any text."""

import random

import numpy as np
import pytest

from smallgpt.data.grams import FACTOR, LONGEST_WORD, N, word_grams

WHOLE = 1 << 64


def mixed(number: int) -> int:
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 % WHOLE
    number = (number ^ number >> 27) * 0x94D049BB133111EB % WHOLE
    return number ^ number >> 31


def by_definition(words: list[str], n: int) -> list[int]:
    """A polynomial of the mixed numbers of n words, each a polynomial of its characters."""

    def power(place: int) -> int:
        return pow(FACTOR, place + 1, WHOLE)

    numbers = [
        mixed(sum((ord(c) + 1) * power(min(i, LONGEST_WORD - 1)) for i, c in enumerate(word)) % WHOLE) for word in words
    ]
    runs = [numbers[start : start + n] for start in range(len(numbers) - n + 1)]
    return [mixed(sum(number * power(place) for place, number in enumerate(run)) % WHOLE) for run in runs]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n", [1, 5, N])
def test_grams_are_polynomials_of_their_words(n: int):
    chance = random.Random(n)
    for letters in ("abc_9", "aé\u0431"):
        words = ["".join(chance.choices(letters, k=chance.choice([1, 2, 7, 63, 64, 65, 200]))) for _ in range(40)]
        text = "".join(word.upper() + chance.choice([" ", ", ", "-" * 90, "\n"]) for word in words)
        assert word_grams(text, n).tolist() == by_definition(words, n)
        assert word_grams(f" . {text}{words[0]}", n).tolist() == by_definition([*words, words[0]], n)
    assert word_grams("\u65e5\u672c a\u8a9eb", n).tolist() == by_definition(["\u65e5", "\u672c", "a", "\u8a9e", "b"], n)


def test_texts_without_words_have_none():
    for text in ("", " ", "-" * 300, "one"):
        assert word_grams(text, 2).dtype == np.uint64 and not len(word_grams(text, 2))
