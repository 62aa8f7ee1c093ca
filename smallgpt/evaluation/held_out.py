"""Bits per byte of held-out documents for the weights whose latency is measured, the same for every model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from smallgpt.data.prepared_data import prepared_of
from smallgpt.errors import UserError
from smallgpt.evaluation.corpora import read_corpora
from smallgpt.evaluation.measures import compare_texts, text_score
from smallgpt.evaluation.text_likelihood import Reader
from smallgpt.results import read_result
from smallgpt.settings import Settings


@dataclass(frozen=True)
class HeldOut:
    """Documents that no model was trained on, under a common name."""

    name: str
    documents: list[str]


def check_held_out(settings: Settings) -> None:
    """Raises UserError where `eval` asks for what a benchmark does not measure."""
    asked = settings.eval
    if asked is None:
        return
    if not (settings.checkpoint or settings.sweep):
        raise UserError("eval: without checkpoint= task=benchmark measures random weights, which know nothing")
    for key in ("tasks", "path", "prompts"):
        if getattr(asked, key):
            raise UserError(
                f"eval.{key}: task=benchmark measures bits per byte alone; use eval=own eval.corpora=FILE, and "
                "task=evaluate quantize= for the rest"
            )
    if len(asked.corpora) > 1:
        raise UserError(f"eval.corpora={list(asked.corpora)}: task=benchmark reads one text")
    if asked.precision != "fp32":
        raise UserError(f"eval.precision={asked.precision}: task=benchmark takes quantize={asked.precision} instead")


def held_out(settings: Settings, checkpoints: Sequence[str]) -> HeldOut | None:
    """Reads the text of `eval.corpora`, or else the held-out split that the runs of the checkpoints share.

    Of that split it is as much as the runs validate on. Where there is none, the reason is printed and None returned.
    Raises UserError for a text that cannot be read.
    """
    if settings.eval is not None:
        ((corpus, documents),) = read_corpora(settings.eval).items()
        return HeldOut(corpus, documents)
    if not checkpoints:
        return None
    found = of_runs(checkpoints, settings.cache_dir, settings.validation.final_tokens)
    if isinstance(found, HeldOut):
        return found
    print(f"No bits per byte: {found}; give a text, eval=own eval.corpora=FILE.")
    return None


def of_runs(runs: Sequence[str], cache_dir: Path, tokens: int | None) -> HeldOut | str:
    """Documents that all of the runs have held out, within so many tokens; or the reason why there are none."""
    fingerprints = {(read_result(Path(run).expanduser()) or {}).get("data_fingerprint") for run in runs}
    if None in fingerprints:
        return "not every checkpoint is the directory of a run"
    if len(fingerprints) > 1:
        return "the runs were trained on different data"
    (fingerprint,) = fingerprints
    prepared = prepared_of(fingerprint, cache_dir)
    if isinstance(prepared, str):
        return prepared
    tokenizer: Any = AutoTokenizer.from_pretrained(prepared.tokenizer_dir)
    documents, split = [], "test" if prepared.test_documents else "validation"  # on validation the best was chosen
    for ids, size in prepared.held_out_documents(tokens, split):
        documents.append(tokenizer.decode(ids, clean_up_tokenization_spaces=False))
        if len(documents[-1].encode()) != size:
            return "the runs' tokenizer does not give a text back as it was"
    return HeldOut(f"{prepared.name}, {'held out' if split == 'validation' else split}", documents)


def measure_held_out(readers: Sequence[Reader], text: HeldOut) -> list[dict[str, Any]]:
    """Measures the section `text` of each model; later ones are compared with the first, document by document."""
    first, *others = (reader.likelihood_of_texts(text.documents) for reader in readers)
    gaps = [None, *(compare_texts(first, each) for each in others)]
    return [
        {"name": text.name, **text_score(each), "difference": gap}
        for each, gap in zip((first, *others), gaps, strict=True)
    ]
