"""Short texts that differ, of a few words with letters of several kinds."""

import random

WORDS = [
    "the",
    "a",
    "of",
    "small",
    "model",
    "learns",
    "from",
    "text",
    "naïve",
    "日本",
    "👍🏽",
    "12",
]


def story(seed: int) -> str:
    """A text of a few hundred characters that no other seed gives."""
    words = random.Random(seed).choices(WORDS, k=60)
    return f"Story {seed}. " + " ".join(words) + " \u00a0\t\n"
