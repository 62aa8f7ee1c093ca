"""Tickets that a tiny model can learn to sort, and what the command lines of small fine-tunings share."""

import numpy as np

TEMPLATE = r"data.template={text}\nLabel: {label}"
SMALL = [
    *("trainer.threads=1", "log_every=1", "batch.examples=16", "schedule=constant", "optimizer.lr=1e-2"),
    *("finetune.shots=[0,2]", "generation.max_new_tokens=6", "seed=1", "trainer.precision=fp32"),  # as it is scored
]


def tickets(number: int = 150) -> list[dict[str, str]]:
    numbers = np.random.default_rng(1)
    signs = {"bug": ["broken", "crash", "error"], "wish": ["please", "could", "nice"]}
    filler = ["the", "page", "user", "it", "when", "opens", "today", "login", "button", "again"]
    rows = []
    for place in range(number):
        label = "bug" if numbers.random() < 0.6 else "wish"
        words = [*numbers.choice(filler, 5), numbers.choice(signs[label]), str(place)]
        rows.append({"text": " ".join(numbers.permutation(words)), "label": label})
    return rows
