"""tiktoken and the tokenizer saved with the model give the same ids, whatever the text."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer

from smallgpt.data.encoding import (
    AWKWARD,
    TiktokenEncoder,
    TransformersEncoder,
    build_encoder,
    encode_prompt,
    encode_text,
    lost_characters,
)
from smallgpt.data.files import Files
from smallgpt.data.prepare import prepare
from smallgpt.data.prepared_data import PreparedData
from smallgpt.data.tokenizers import END_OF_TEXT, Pretrained, TrainedBPE

ALPHABET = [
    *" \t\n\r\u00a0\u2003\u3000'",
    *"abcdeABC",
    "é",
    "e\u0301",
    "日本",
    "👍🏽",
    "\u200d",
    "7",
    "½",
]
ALPHABET += ["'ll", "  ", "\n\n", "_", "==", END_OF_TEXT, "\x00", "ß", "İ", "ǅ"]


@pytest.fixture(scope="module")
def tokenizer(prepared: PreparedData) -> Any:
    return AutoTokenizer.from_pretrained(prepared.tokenizer_dir)


def mixed(seed: int) -> str:
    chance = random.Random(seed)
    return "".join(chance.choices(ALPHABET, k=chance.randrange(1, 60)))


def assert_same_ids(tokenizer: Any, texts: list[str]) -> None:
    encoder = build_encoder(tokenizer)
    assert isinstance(encoder, TiktokenEncoder)
    for text in texts:
        expected = tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        assert encoder(text).tolist() == expected["input_ids"], repr(text)
        assert tokenizer.eos_token_id not in encoder(text)
        assert tokenizer.decode(encoder(text).tolist()) == text


def test_trained_vocabulary_gives_the_same_ids(tokenizer: Any, stories: list[str]) -> None:
    assert_same_ids(tokenizer, AWKWARD + stories + [mixed(seed) for seed in range(500)])


def test_saved_tokenizer_has_what_generation_needs(tokenizer: Any) -> None:
    assert tokenizer.eos_token == tokenizer.bos_token == tokenizer.pad_token == END_OF_TEXT
    assert tokenizer.padding_side == "left"
    assert tokenizer.eos_token_id == 0
    assert tokenizer(END_OF_TEXT)["input_ids"] == [0]


def test_very_long_pieces(tokenizer: Any) -> None:
    assert_same_ids(tokenizer, ["a" * 20_000, " " * 20_000, "\n" * 20_000 + "x", "👍" * 2_000])


def other_tokenizer(model: Any, trainer: Any, **steps: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(model)
    for name, step in steps.items():
        setattr(backend, name, step)
    backend.train_from_iterator(["some words to learn, some Words again"] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")


def test_other_kinds_of_tokenizer_are_used_as_they_are() -> None:
    special = ["<unk>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    words = other_tokenizer(
        models.WordPiece(unk_token="<unk>"),
        trainers.WordPieceTrainer(special_tokens=special),
        pre_tokenizer=pre_tokenizers.Whitespace(),
    )
    normalised = other_tokenizer(
        models.BPE(),
        trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet),
        normalizer=normalizers.Lowercase(),
        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False),
    )
    spaced = other_tokenizer(
        models.BPE(),
        trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet),
        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True),
    )
    for tokenizer in (words, normalised, spaced):
        encoder = build_encoder(tokenizer)
        assert isinstance(encoder, TransformersEncoder)
        expected = tokenizer("Some words", add_special_tokens=False)["input_ids"]
        assert encoder("Some words").tolist() == expected
        assert tokenizer.eos_token_id not in encoder("a </s> in the text")


def test_gpt2_folder(real_data: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(real_data / "gpt2_tokenizer", tmp_path / "gpt2")
    settings = Pretrained(name=str(folder), vocab_size=50257)
    assert settings.padded_vocab_size == 50304
    tokenizer = settings.build([])
    assert tokenizer.eos_token_id == 50256
    assert_same_ids(tokenizer, AWKWARD + [mixed(seed) for seed in range(500)])
    assert TransformersEncoder(tokenizer)("Hello world").dtype == np.uint32


def test_sentencepiece_style_folder(real_data: Path) -> None:
    settings = Pretrained(name=str(real_data / "pretrained" / "stories260k"))
    assert settings.padded_vocab_size == 512
    tokenizer = settings.build([])
    encoder = build_encoder(tokenizer)
    assert isinstance(encoder, TransformersEncoder)
    expected = tokenizer("Once upon a time", add_special_tokens=False)["input_ids"]
    assert encoder("Once upon a time").tolist() == expected


def test_what_a_tokenizer_loses_is_counted(tmp_path: Path, stories: list[str]) -> None:
    """Lower-casing loses capitals, words outside a vocabulary all of their characters; byte-level BPE nothing."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    lower = other_tokenizer(
        models.BPE(),
        trainers.BpeTrainer(special_tokens=["<unk>", "</s>"], initial_alphabet=alphabet),
        normalizer=normalizers.Lowercase(),
        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoder=decoders.ByteLevel(),
    )
    lower.save_pretrained(tmp_path / "lower")
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in stories))
    corpus, cache = Files(path=str(path), holdout=0.2), tmp_path / "cache"
    lossy = prepare(corpus, Pretrained(name=str(tmp_path / "lower")), cache, False, 1)
    held_out = list(corpus.documents("validation"))
    assert lossy.lost_characters == sum(sum(map(str.isupper, text)) for text in held_out) > 0
    assert not lossy.bits_per_byte_comparable and "not comparable" in lossy.warnings()[0]
    whole = prepare(corpus, TrainedBPE(vocab_size=300), cache, False, 1)
    assert whole.lost_characters == 0 and whole.bits_per_byte_comparable and not whole.warnings()
    assert lost_characters("The naïve one", "the nave one") == 2
    assert lost_characters("ab", "ba") == 1, "what is there in another order is no loss to count, but it is one"


@pytest.mark.parametrize("literal", ["</s>", "<unk>", END_OF_TEXT])
def test_special_tokens_written_out_are_text(literal: str, tokenizer: Any) -> None:
    for each in (tokenizer, other_tokenizer(models.BPE(), trainers.BpeTrainer(special_tokens=["<unk>", "</s>"]))):
        ids = encode_text(each, f"so {literal} me")
        assert not set(ids) & set(each.all_special_ids)
        assert ids == build_encoder(each)(f"so {literal} me").tolist()
    assert encode_prompt(tokenizer, "") == [tokenizer.eos_token_id]
