"""Batches of examples: padding is never read, completions alone are learnt, and micro-batches change nothing."""

import numpy as np
import pytest
import torch
from helpers import VARIANTS, Case, build_model

from smallgpt.data.example_batches import ExampleDataModule, TrainExamples, batch_of_examples
from smallgpt.data.example_encoding import EncodedExample
from smallgpt.finetuning.adapted import Adapted
from smallgpt.finetuning.objectives import Completions, Labels

PAD = 7


def examples(number: int = 6) -> list[EncodedExample]:
    numbers = np.random.default_rng(5)
    found = []
    for place in range(number):
        prompt, length = int(numbers.integers(1, 9)), int(numbers.integers(10, 20))
        ids = numbers.integers(0, 96, length)
        found.append(EncodedExample(ids, np.arange(length) >= prompt, prompt, label=place % 3))
    return found


def model(variant: str = "gpt", labels: tuple[str, ...] = ()) -> Adapted:
    adapted = Adapted(build_model(Case(variant, "modern")), labels)
    if adapted.head is not None:
        torch.nn.init.normal_(adapted.head.weight)
    return adapted


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("with_label", [False, True], ids=["completions", "labels"])
def test_a_batch_padded_left_right_or_not_at_all_is_the_same(variant: str, with_label: bool):
    adapted = model(variant, ("a", "b", "c") if with_label else ()).train()
    objective = Labels(adapted) if with_label else Completions(adapted)
    found = []
    for sides in (("left",), ("right",), ("left", "right")):
        # not at all: each example alone
        alone = len(sides) == 2
        parts = [[each] for each in examples()] if alone else [examples()]
        total, predictions = 0.0, []
        adapted.zero_grad()
        for part in parts:
            batch = batch_of_examples(part, PAD, sides[0], with_label)
            assert ("attention_mask" in batch) is not alone
            nats, _ = objective.total(batch)
            nats.backward()
            total += nats.item()
            mask = batch.get("attention_mask")
            last = adapted.label_logits(batch["input_ids"], mask) if with_label else last_logits(adapted, batch)
            predictions.append(last.detach())
        gradients = {n: p.grad.clone() for n, p in adapted.named_parameters() if p.grad is not None}
        found.append((total, torch.cat(predictions), gradients))
    (_, _, right), *others = found
    for total, predictions, gradients in others:
        assert total == pytest.approx(found[0][0], rel=1e-5)
        torch.testing.assert_close(predictions, found[0][1], atol=2e-5, rtol=1e-4)
        for name, gradient in gradients.items():
            assert torch.isfinite(gradient).all()
            torch.testing.assert_close(gradient, right[name], atol=2e-4, rtol=2e-3)


def last_logits(adapted: Adapted, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    logits = adapted.logits(batch["input_ids"], batch.get("attention_mask"))
    mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
    return torch.stack([row[keep.bool()][-1] for row, keep in zip(logits, mask, strict=True)])


def test_a_completion_s_loss_is_the_sum_over_its_tokens():
    adapted = model().eval()
    nats, count = Completions(adapted).total(batch_of_examples(examples(), PAD, "right", False))
    expected, number = 0.0, 0
    for each in examples():
        for place in range(each.prompt_length, len(each.ids)):
            logits = adapted.logits(torch.from_numpy(each.ids[None, :place]))[0, -1]
            expected -= float(torch.log_softmax(logits, -1)[each.ids[place]])
            number += 1
    assert (float(nats), int(count)) == (pytest.approx(expected, rel=1e-5), number)


def test_the_prompt_s_tokens_get_no_gradient():
    adapted = model().eval()
    batch = batch_of_examples(examples(), PAD, "right", False)
    seen = {}

    def keep(module, inputs, logits):
        logits.retain_grad()
        seen["logits"] = logits

    # the logits of a position teach the token behind it
    handle = adapted.causal.lm_head.register_forward_hook(keep)
    logits = adapted.logits(batch["input_ids"], batch["attention_mask"])
    nats = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["targets"].flatten(), reduction="sum")
    handle.remove()
    assert float(nats) == pytest.approx(float(Completions(adapted).total(batch)[0]), rel=1e-5)
    nats.backward()
    touched = seen["logits"].grad.abs().sum(-1) > 0
    for row, each in zip(touched, examples(), strict=True):
        expected = torch.zeros_like(row)
        expected[each.prompt_length - 1 : len(each.ids) - 1] = True
        assert torch.equal(row, expected)


class Trainer:
    """As much of a trainer as a data module asks for."""

    global_rank, global_step, strategy = 0, 0, None

    def __init__(self, accumulation: int, world: int = 1):
        self.accumulate_grad_batches, self.world_size = accumulation, world


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.0]], ids=["plain", "class-weights"])
@pytest.mark.parametrize("with_label", [False, True], ids=["completions", "labels"])
def test_a_step_s_loss_does_not_depend_on_its_micro_batches(weights, with_label: bool):
    adapted = model("gpt", ("a", "b", "c") if with_label else ()).eval()
    objective = Labels(adapted) if with_label else Completions(adapted)
    steps = []
    for micro, accumulation, world in ((4, 1, 1), (2, 2, 1), (1, 4, 1), (2, 1, 2)):
        data = ExampleDataModule(examples(), examples(), micro, 0, PAD, with_label, class_weights=weights)
        data.trainer = Trainer(accumulation, world)
        stream = TrainExamples(data)
        size = micro * world
        indices = [range(start + rank, start + size, world) for start in range(0, 4, size) for rank in range(world)]
        losses = [float(objective.mean(stream[list(index)])) for index in indices]
        steps.append(sum(losses) / len(losses))
    assert steps == pytest.approx([steps[0]] * len(steps), rel=1e-5)
    drawn = [examples()[data.order(sample)] for sample in range(4)]
    parts = [objective.total(data.batch([each])) for each in drawn]
    assert steps[0] == pytest.approx(sum(float(n) for n, _ in parts) / sum(float(c) for _, c in parts), rel=1e-5)


def test_every_example_is_seen_once_an_epoch_and_all_held_out_ones_are_scored():
    data = ExampleDataModule(examples(), examples(5), 2, 1, PAD)
    assert sorted(data.order(sample) for sample in range(6, 12)) == list(range(6))
    rows = sum(len(batch["input_ids"]) for batch in data.val_dataloader())
    assert rows == 5
    fewer = ExampleDataModule(examples(), examples(5), 2, 1, PAD, validation_tokens=len(examples()[0].ids))
    assert len(fewer.validation) == 1
