"""What a training on examples is made of: warnings, weights of classes, its length."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from smallgpt.data.example_encoding import EncodedExample, ExampleEncoder
from smallgpt.data.example_set import Example, ExampleSet
from smallgpt.errors import UserError
from smallgpt.settings import Budget
from smallgpt.tasks.example_training import Material, class_weights, run_length


def material(labels: tuple[str, ...] = ("bug", "wish", "rare"), left_out: int = 0) -> Material:
    """Five training examples, of which two are cut and none is of the last label."""
    said = [*labels[:2], *labels[:1] * 3]
    chosen = [Example(f"t.csv, line {n}", "train", references=(label,)) for n, label in enumerate(said)]
    found = ExampleSet("t", "classification", "", chosen, labels, left_out, 0)
    encoder = ExampleEncoder(None, 8, labels, prompts_alone=True)
    train = [
        EncodedExample(np.arange(4), np.zeros(4, bool), 3, labels.index(label), cut=n < 2)
        for n, label in enumerate(said)
    ]
    return Material(found, chosen, encoder, train, train[:1])


def test_a_reader_is_told_what_was_cut_what_is_never_seen_and_what_was_left_out():
    settings: Any = SimpleNamespace(context=8)
    cut, unseen, near = material(left_out=7).warnings(settings)
    assert cut == "data=t: 2 of 5 training examples are longer than the context of 8 tokens and are cut"
    assert unseen == "data.examples=5: no training example is rare; another seed has others"
    assert near == "data=t: 7 training examples are left out, near held-out ones"
    assert material(labels=("bug", "wish")).warnings(settings) == [cut]


def test_the_labels_that_occur_weigh_the_same_together():
    given = material()
    weights = class_weights(given.examples, given.train)
    assert weights == [5 / (2 * 4), 5 / 2, 0.0]
    without = ExampleSet("t", "completion", "", [], (), 0, 0)
    with pytest.raises(UserError, match=r"^finetune\.class_weights=true: of labels, and data=t has none"):
        class_weights(without, given.train)


def test_a_budget_of_examples_or_epochs_is_a_number_of_whole_steps():
    for budget, steps in ((Budget(epochs=1.5), 5), (Budget(examples=33), 2), (Budget(examples=1), 1)):
        settings: Any = SimpleNamespace(budget=budget, batch_examples=32)
        assert run_length(settings, 100).steps == steps
    settings = SimpleNamespace(budget=Budget(seconds=3), batch_examples=32)
    assert run_length(settings, 100).seconds == 3
