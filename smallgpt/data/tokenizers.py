"""Tokenizers: how text becomes tokens. Each class is a settings group (conf/tokenizer/*.yaml).

All of them end as a `transformers` tokenizer with an end-of-text token, padding on the left, that
is saved beside the tokens and later with the model.
"""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field

from smallgpt.data import hub
from smallgpt.data.content_hash import hash_of
from smallgpt.errors import UserError, one_line
from smallgpt.files import nearest_beside
from smallgpt.settings import Group

END_OF_TEXT = "<|endoftext|>"
# Enough text for a vocabulary of some ten thousand; training on it takes seconds.
SAMPLE_CHARACTERS = 8_000_000
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer.model", "vocab.txt")


class TrainedBPE(Group):
    """Byte-level BPE, trained on a sample of the corpus' training documents."""

    vocab_size: int = Field(4096, ge=257, le=SAMPLE_CHARACTERS)
    """Number of tokens: the 256 bytes, the end-of-text token and the merges; a tiny corpus may give fewer. The sample
    that they are learned from has no more characters than the largest number."""

    @property
    def padded_vocab_size(self) -> int:
        return padded(self.vocab_size)

    def check(self) -> None:
        pass

    def fingerprint(self) -> dict[str, Any]:
        return {"tokenizer": "bpe", "vocab_size": self.vocab_size, "sample": SAMPLE_CHARACTERS}

    def build(self, texts: Iterable[str]) -> Any:
        from tokenizers import Tokenizer, models, trainers

        tokenizer = Tokenizer(models.BPE())
        _make_byte_level(tokenizer)
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocab_size,
            special_tokens=[END_OF_TEXT],
            initial_alphabet=sorted(_alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return _wrapped(tokenizer)


class Pretrained(Group):
    """A tokenizer by its name on the hub, or a folder of its files."""

    name: str
    """Name on the hub, or a folder with tokenizer.json, or with vocab.json and merges.txt."""
    vocab_size: int | None = Field(None, gt=0, le=1 << 32)
    """Number of tokens, where known; it saves loading the tokenizer to learn the model's size."""

    @property
    def padded_vocab_size(self) -> int:
        if self.vocab_size:
            return padded(self.vocab_size)
        self.check()
        return padded(len(load_tokenizer(self.name)))

    def check(self) -> None:
        """Raises UserError for a folder without a tokenizer in it, or a path that is not there."""
        folder = self._folder()
        if folder is None:
            if not hub.is_hub_name(self.name):
                near = nearest_beside(Path(self.name).expanduser())
                raise UserError(f"tokenizer.name={self.name}: no such folder{near}; give a folder or a hub name")
        elif not any((folder / name).is_file() for name in TOKENIZER_FILES):
            raise UserError(
                f"tokenizer.name={self.name}: no tokenizer in this folder; "
                "it needs tokenizer.json, or vocab.json and merges.txt"
            )

    def fingerprint(self) -> dict[str, Any]:
        folder = self._folder()
        if folder is None:
            return {"tokenizer": self.name}
        paths = [folder / name for name in (*TOKENIZER_FILES, "tokenizer_config.json")]
        return {"tokenizer": {path.name: hash_of(path) for path in paths if path.is_file()}}

    def build(self, texts: Iterable[str]) -> Any:
        self.check()
        tokenizer = load_tokenizer(self.name)
        if self.vocab_size and self.vocab_size != len(tokenizer):
            raise UserError(
                f"tokenizer.vocab_size={self.vocab_size}: {self.name} has {len(tokenizer)} tokens; "
                f"tokenizer.vocab_size={len(tokenizer)}"
            )
        return tokenizer

    def _folder(self) -> Path | None:
        folder = Path(self.name).expanduser()
        return folder if folder.is_dir() else None


def padded(vocab_size: int) -> int:
    """Vocabulary size rounded up to a multiple of 64, which is faster in matrix products."""
    return -(-vocab_size // 64) * 64


@lru_cache(maxsize=4)
def load_tokenizer(name: str) -> Any:
    """The `transformers` tokenizer of a folder or hub name. Raises UserError if there is none."""
    folder = Path(name).expanduser()
    if (folder / "vocab.json").is_file() and not (folder / "tokenizer.json").is_file():
        return _from_merges(folder)
    if (folder / "tokenizer.json").is_file() and not (folder / "tokenizer_config.json").is_file():
        from tokenizers import Tokenizer

        try:
            return _wrapped(Tokenizer.from_file(str(folder / "tokenizer.json")))
        except Exception as error:  # what tokenizers raises is a plain one
            raise UserError(f"tokenizer.name={folder}: tokenizer.json is damaged ({one_line(error)[:200]})") from None
    from transformers import AutoTokenizer

    with hub.errors(f"tokenizer.name={name}", "tokenizer=bpe, or tokenizer.name=<folder>", local=folder.is_dir()):
        source = str(folder) if folder.is_dir() else name
        tokenizer: Any = AutoTokenizer.from_pretrained(source, padding_side="left", trust_remote_code=False)
    if not tokenizer.is_fast:
        raise UserError(f"tokenizer.name={name}: has no tokenizer.json; choose one that has")
    if tokenizer.eos_token is None:
        raise UserError(f"tokenizer.name={name}: has no end-of-text token; choose one that has")
    _complete(tokenizer)
    return tokenizer


def _from_merges(folder: Path) -> Any:
    from tokenizers import Tokenizer, models

    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    if not merges.is_file():
        raise UserError(f"tokenizer.name={folder}: vocab.json without merges.txt; add it")
    try:
        tokenizer = Tokenizer(models.BPE.from_file(str(vocabulary), str(merges)))
    except Exception as error:
        raise UserError(f"tokenizer.name={folder}: cannot be read ({one_line(error)[:200]})") from None
    _make_byte_level(tokenizer)
    return _wrapped(tokenizer)


def _make_byte_level(tokenizer: Any) -> None:
    from tokenizers import decoders, pre_tokenizers

    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()


def _alphabet() -> list[str]:
    from tokenizers import pre_tokenizers

    return pre_tokenizers.ByteLevel.alphabet()


def _wrapped(tokenizer: Any) -> Any:
    """As a `transformers` tokenizer; its end of text is GPT-2's, or else the first usual one."""
    from transformers import PreTrainedTokenizerFast

    names = (END_OF_TEXT, "</s>", "<eos>", "<|end_of_text|>")
    end = next((name for name in names if tokenizer.token_to_id(name) is not None), END_OF_TEXT)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, padding_side="left")
    _complete(wrapped)
    return wrapped


def _complete(tokenizer: Any) -> None:
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    tokenizer.bos_token = tokenizer.bos_token or tokenizer.eos_token
