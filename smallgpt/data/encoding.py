"""Text to token ids, by one rule everywhere: the literal of a special token, such as `<|endoftext|>`, is ordinary text.

`encode_text` is for a text or a prompt. Corpora are prepared through tiktoken where the tokenizer is byte-level BPE.
tiktoken merges by the rank of what a merge makes; that gives the ids of `tokenizers` when ids ascend in the order of
merges, and `build_encoder` tries both on awkward text before it trusts it.
"""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

# The pattern of GPT-2 with possessive quantifiers: the same pieces, without backtracking.
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"

AWKWARD = [
    "",
    " ",
    "  leading and trailing  ",
    "tabs\t\tand\r\n\r\nlines\n\n\n   x\u00a0\u3000y\u2028z \n ",
    "I'll we've they're it's I'D don't '' 'tis",
    "naïve café ÅÅ Größe Ελληνικά русский עברית العربية हिन्दी ไทย 日本語 한국어",
    "e\u0301 \ufb01 \u200d\ufeff 👩\u200d👩\u200d👧\u200d👦 🇩🇪 👍🏽 \U0001f600\u0000\x07",
    "1234567890 ½ Ⅷ ٣٤ x²  +++---=== ______ 0x1F 3.14e-10",
    "def f(x):\n\treturn {**x, 'a': [i for i in range(10)]}\n\n\n",
    "<|endoftext|> text <|endoftext|><|im_start|></s><s><unk>[CLS][PAD]",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" * 20 + " " * 300 + "\n" * 50 + "abcabcabcab" * 30,
]


class Encoder(Protocol):
    """Function from text to token ids, which can be pickled for worker processes."""

    def __call__(self, text: str) -> np.ndarray:
        """Ids of one document without any end-of-text token, uint32."""
        ...

    def decode(self, ids: np.ndarray) -> str:
        """The text that the ids stand for; unknown tokens stand for none."""
        ...


def encode_text(tokenizer: Any, text: str, add_special_tokens: bool = False) -> list[int]:
    """Ids of a user's text by a `transformers` tokenizer.

    Args:
        add_special_tokens: with what the tokenizer puts around a text, such as a token that begins it.
    """
    # Long texts are cut by who asks, so no warning.
    return tokenizer.encode(text, add_special_tokens=add_special_tokens, split_special_tokens=True, verbose=False)


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Ids of a text that is to be continued; an empty one starts a new document."""
    return encode_text(tokenizer, prompt) or [tokenizer.eos_token_id]


def lost_characters(text: str, decoded: str) -> int:
    """How many characters of a text are not in what its tokens give back, wherever they stand."""
    return 0 if text == decoded else max(1, (Counter(text) - Counter(decoded)).total())


@dataclass(frozen=True)
class TiktokenEncoder:
    """Encoder by tiktoken, for byte-level BPE."""

    encoding: Any

    def __call__(self, text: str) -> np.ndarray:
        return self.encoding.encode_to_numpy(text, disallowed_special=())

    def decode(self, ids: np.ndarray) -> str:
        return self.encoding.decode(ids.tolist())


class TransformersEncoder:
    """Encoder by the tokenizer itself, which adds no special tokens."""

    def __init__(self, tokenizer: Any):
        from tokenizers import Tokenizer

        # A copy, for the switch below must not be saved with the model.
        self.backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self.backend.encode_special_tokens = True
        self.backend.no_truncation()
        self.backend.no_padding()

    def __call__(self, text: str) -> np.ndarray:
        return np.array(self.backend.encode(text, add_special_tokens=False).ids, dtype=np.uint32)

    def decode(self, ids: np.ndarray) -> str:
        return self.backend.decode(ids.tolist(), skip_special_tokens=True)


def build_encoder(tokenizer: Any) -> Encoder:
    """The fastest encoder that gives exactly the ids of a `transformers` tokenizer."""
    slow = TransformersEncoder(tokenizer)
    encoding = tiktoken_encoding(tokenizer)
    if encoding is None:
        return slow
    fast = TiktokenEncoder(encoding)
    return fast if all(np.array_equal(fast(text), slow(text)) for text in AWKWARD) else slow


def tiktoken_encoding(tokenizer: Any) -> Any | None:
    """A `tiktoken.Encoding` with the tokenizer's ranks, or None where it is not byte-level BPE."""
    import tiktoken

    description = json.loads(tokenizer.backend_tokenizer.to_str())
    pattern = _pattern(description["pre_tokenizer"])
    model = description["model"]
    altered = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
    added = description["added_tokens"]
    if (
        pattern is None
        or model["type"] != "BPE"
        or description["normalizer"] is not None
        or any(model.get(name) for name in altered)
        or not all(token["special"] for token in added)
    ):
        return None
    special = {token["content"]: token["id"] for token in added}
    byte_of = {char: byte for byte, char in _byte_characters().items()}
    try:
        ranks = {
            bytes(byte_of[char] for char in token): rank
            for token, rank in model["vocab"].items()
            if token not in special
        }
    except KeyError:
        return None
    if len(set(ranks) & {bytes([byte]) for byte in range(256)}) != 256:
        return None
    return tiktoken.Encoding("smallgpt", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)


def _pattern(pre_tokenizer: Any) -> str | None:
    steps = (pre_tokenizer or {}).get("pretokenizers", [pre_tokenizer])
    match steps:
        case [{"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}]:
            return GPT2_PATTERN
        case [
            {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated"},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ]:
            return pattern
    return None


def _byte_characters() -> dict[int, str]:
    """The printable character that byte-level vocabularies write for each byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}
