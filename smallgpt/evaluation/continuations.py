"""Free continuations of a user's prompts: how often they hit a user's words, and how varied they are."""

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from smallgpt.data.encoding import encode_prompt
from smallgpt.errors import UserError, one_line, shown
from smallgpt.evaluation.measures import rate
from smallgpt.files import nearest_beside
from smallgpt.inference.generate import arguments
from smallgpt.inference.onnx_engine import OnnxEngine
from smallgpt.inference.steps import decoding_steps
from smallgpt.settings import Generation


def read_lines(path: Path, key: str) -> list[str]:
    """Reads prompts or words from a file, one a line as it stands; blank lines are passed over.

    Raises:
        UserError: names `key` where the file is missing, empty or not text.
    """
    if not path.exists():
        raise UserError(f"{key}={path}: no such file{nearest_beside(path)}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{key}={path}: not UTF-8; save the file as UTF-8") from None
    except OSError as error:
        raise UserError(f"{key}={path}: cannot be read ({one_line(error)})") from None
    lines = [line.removesuffix("\r") for line in text.split("\n") if line.strip()]
    if not lines:
        raise UserError(f"{key}={path}: the file is empty; give one entry a line")
    return lines


def hits(text: str, words: Sequence[str]) -> bool:
    """Whether any of the words is in the text as a whole word, in upper or lower case.

    An entry of several words is found across any white space.
    """
    return bool(_pattern(tuple(words)).search(text))


@lru_cache
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    entries = [r"\s+".join(map(re.escape, entry.split())) for entry in words if entry.strip()]
    if not entries:
        raise ValueError("no words to look for")
    # \b would ask for a letter after an entry that ends in none, like C++
    return re.compile(rf"(?<!\w)(?:{'|'.join(entries)})(?!\w)", re.IGNORECASE)


def distinct(texts: Sequence[str], n: int) -> float | None:
    """Share of different n-grams among all of the texts, of lower-case words; None where no text has n words.

    distinct-n of Li et al., arXiv 1510.03055.
    """
    words = [text.lower().split() for text in texts]
    grams = [tuple(some[i : i + n]) for some in words for i in range(len(some) - n + 1)]
    return len(set(grams)) / len(grams) if grams else None


def continuations(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    samples: int,
    settings: Generation,
    seed: int,
) -> list[list[str]]:
    """Generates `samples` continuations of each prompt and returns them without it.

    The same prompts and seed give the same texts.

    Raises:
        UserError: a prompt leaves no room in the model's context, or the settings give one text alone.
    """
    if samples > 1 and settings.temperature == 0:
        raise UserError(f"generation.temperature=0: greedy decoding gives one text, not {samples}; set it over 0")
    if samples > 1 and settings.num_beams > 1:
        raise UserError(f"generation.num_beams={settings.num_beams}: beams are no independent samples; set it to 1")
    encoded = [_room(model, tokenizer, prompt, settings.max_new_tokens) for prompt in prompts]
    was_training = model.training
    model.eval()
    texts, steps = [], decoding_steps(model)
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        for ids, new_tokens in encoded:
            input_ids = torch.tensor([ids], device=model.device)
            output = model.generate(  # ty: ignore[not-callable]  # of GenerationMixin
                input_ids,
                attention_mask=torch.ones_like(input_ids),
                num_return_sequences=samples,
                **arguments(model, tokenizer, settings, new_tokens, steps=steps),
            )
            texts.append(tokenizer.batch_decode(output[:, len(ids) :], skip_special_tokens=True))
    model.train(was_training)
    return texts


def continuations_of_graph(
    engine: OnnxEngine, prompts: Sequence[str], samples: int, settings: Generation, seed: int
) -> list[list[str]]:
    """Generates `samples` continuations of each prompt with an exported graph and returns them without it.

    Raises:
        UserError: as `OnnxEngine.tokens`.
    """
    texts = []
    for prompt in prompts:
        _, *pieces = engine.generate([prompt] * samples, settings, seed)
        texts.append(["".join(parts) for parts in zip(*pieces, strict=True)])
    return texts


def _room(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, new_tokens: int
) -> tuple[list[int], int]:
    """The prompt's tokens, and how many of the new ones the model's context has room for."""
    ids = encode_prompt(tokenizer, prompt)
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is None:
        return ids, new_tokens
    if len(ids) >= limit:
        raise UserError(
            f"prompt '{shown(prompt)}': {len(ids)} tokens; the model's context has {limit}, so use at most {limit - 1}"
        )
    return ids, min(new_tokens, limit - len(ids))


def score_continuations(continuations: Sequence[Sequence[str]], words: Sequence[str]) -> dict[str, Any]:
    """Rates over the continuations of all prompts; `prompts_with_a_hit` is a share of the prompts."""
    found = [[hits(text, words) for text in texts] for texts in continuations]
    every = [text for texts in continuations for text in texts]
    hit_rate = rate([hit for some in found for hit in some])
    return {
        "hit_rate": hit_rate.value,
        "hit_rate_interval": hit_rate.interval,
        "hit_rate_standard_error": hit_rate.standard_error,
        "prompts_with_a_hit": sum(map(any, found)) / len(found),
        **{f"distinct_{n}": distinct(every, n) for n in (1, 2, 3)},
        "n": hit_rate.n,
    }
