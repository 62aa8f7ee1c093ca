"""Contamination: items of a benchmark that share a run of 13 words with the text that a model was trained on."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from smallgpt.data.grams import N, distinct, occurs, word_grams
from smallgpt.data.prepared_data import PreparedData
from smallgpt.evaluation.evaluate import Plan
from smallgpt.evaluation.harness import text_of

MOST_TOKENS = 1 << 26  # of training text; of a longer one, pieces from all over it


def shares_of_plan(plan: Plan, prepared: PreparedData) -> dict[tuple[str, str], dict[str, Any]]:
    """How much of each task and corpus of a plan occurs in a training text, by the part and the label of its result."""
    items: dict[tuple[str, str], Sequence[str]] = {}
    for name, task in plan.tasks.items():
        rows = range(plan.items(name)) if plan.rows is None else plan.rows[name]
        docs = list(task.eval_docs)
        items["tasks", plan.label(name)] = [text_of(task, docs[row]) for row in rows]
    for name, texts in plan.corpora.items():
        items["corpora", plan.corpus_label(name)] = texts
    return contamination(items, prepared)


def contamination(items: Mapping[Any, Sequence[str]], prepared: PreparedData) -> dict[Any, dict[str, Any]]:
    """Measures how many of each list of items, and how much of them, occur in a corpus' training text.

    An item of fewer than 13 words cannot be told, and is not counted.
    """
    grams = {name: [word_grams(text, N) for text in texts] for name, texts in items.items()}
    asked = distinct(np.concatenate([np.empty(0, np.uint64), *(each for some in grams.values() for each in some)]))
    found = np.zeros(len(asked), bool)
    looked_at = 0
    if len(asked):
        for text, tokens in prepared.training_text(MOST_TOKENS):
            found |= occurs(asked, distinct(word_grams(text, N)))
            looked_at += tokens
    known = asked[found]
    share = min(1.0, looked_at / prepared.train_tokens)
    return {name: {**_shares(some, known), "of_training_text": share} for name, some in grams.items()}


def _shares(items: Sequence[np.ndarray], known: np.ndarray) -> dict[str, Any]:
    counts = [(int(occurs(grams, known).sum()), len(grams)) for grams in items if len(grams)]
    if not counts:
        return {"items": 0, "share_of_items": None, "share_of_13_grams": None}
    return {
        "items": len(counts),
        "share_of_items": sum(hits > 0 for hits, _ in counts) / len(counts),
        "share_of_13_grams": sum(hits for hits, _ in counts) / sum(size for _, size in counts),
    }
