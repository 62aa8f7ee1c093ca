import math
import os
import subprocess
import time
from functools import partial
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from tiny_run import BLOCK, FLOPS_PER_TOKEN, tiny_model
from torch._dynamo.testing import CompileCounter

from smallgpt.errors import UserError
from smallgpt.models import loss as loss_module
from smallgpt.models.gpt import GPT
from smallgpt.tasks.trained import samples
from smallgpt.training import run_length
from smallgpt.training.interruption import Interruption
from smallgpt.training.metrics import HEADER
from smallgpt.training.optimizers import AdamW, Muon
from smallgpt.training.schedules import Cosine


def test_steps_and_tokens_are_exact(fit):
    run = fit(steps=7, accumulation=3, rows=2, log_every=2)
    assert run.trainer.global_step == 7
    rows = run.rows("train/loss")
    assert [row["step"] for row in rows] == [2, 4, 6, 7]
    for row in rows:
        assert row["tokens"] == row["step"] * 3 * 2 * BLOCK
        assert row["flops"] == row["tokens"] * FLOPS_PER_TOKEN


def test_the_header_is_fixed(fit):
    run = fit(steps=2, log_every=100)
    assert (run.directory / "metrics.csv").read_text().splitlines()[0] == ",".join(HEADER)


def test_learning_rate_in_the_record_is_the_formula(fit):
    schedule = Cosine(warmup=0.2)
    run = fit(steps=20, schedule=schedule, accumulation=2)
    for row in run.rows("train/lr"):
        step = int(row["step"]) - 1
        expected = 1e-2 * schedule.for_steps(20).factor(step, step / 20)
        assert row["train/lr"] == pytest.approx(expected, rel=1e-12)


# with its usual eps AdamW makes a whole step of a gradient that is rounding alone
@pytest.mark.parametrize("optimizer", [AdamW(lr=1e-2, eps=1e-4), Muon(lr=1e-2)])
def test_accumulation_is_the_same_update_as_one_big_batch(fit, optimizer):
    big = fit(steps=3, rows=8, accumulation=1, optimizer=optimizer, name="big")
    small = fit(steps=3, rows=2, accumulation=4, optimizer=optimizer, name="small")
    # Muon's orthogonalisation is done in bfloat16
    tolerance = 1e-6 if isinstance(optimizer, AdamW) else 2e-3
    for (name, a), b in zip(big.module.model.named_parameters(), small.module.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=1e-3, msg=name)
    for a, b in zip(big.rows("train/loss"), small.rows("train/loss"), strict=True):
        assert a["train/loss"] == pytest.approx(b["train/loss"], abs=tolerance)
        assert a["train/grad_norm"] == pytest.approx(b["train/grad_norm"], rel=2e-2)


def test_training_equals_a_plain_loop(fit):
    run = fit(steps=4, clip=0.1)
    model = tiny_model()
    optimizer = AdamW(lr=1e-2).build(model)
    for step, row in zip(range(4), run.rows("train/loss"), strict=True):
        batch = run.data.batch(step)
        loss = model.next_token_loss(batch["input_ids"], batch["targets"])
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        optimizer.zero_grad()
        assert row["train/loss"] == pytest.approx(loss.item(), rel=1e-6)
        assert row["train/grad_norm"] == pytest.approx(norm.item(), rel=1e-5)
    for a, b in zip(run.module.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_clipping_can_be_off(fit):
    clipped, free = fit(steps=1, clip=1e-9, name="a"), fit(steps=1, clip=None, name="b")
    start = tiny_model().transformer.backbone.state_dict()
    moved = [
        sum((p - start[n]).abs().sum().item() for n, p in r.module.model.transformer.backbone.named_parameters())
        for r in (clipped, free)
    ]
    assert moved[0] < 0.5 * moved[1]
    assert free.rows("train/grad_norm")[0]["train/grad_norm"] > 0


def test_validates_ten_times_and_at_the_end(fit):
    assert [r["step"] for r in fit(steps=20).rows("val/loss")] == list(range(2, 21, 2))
    steps = [r["step"] for r in fit(steps=23, name="odd").rows("val/loss")]
    assert len(steps) == 10 and steps[-1] == 23
    every = fit(steps=7, every=3, accumulation=2, name="every")
    assert [r["step"] for r in every.rows("val/loss")] == [3, 6, 7]


def test_validation_is_exact(fit):
    run = fit(steps=3, every=100)
    [row] = run.rows("val/loss")
    nats, targets = 0.0, 0
    with torch.no_grad():
        for batch in run.data.validation_batches():
            logits = run.module.model(batch["input_ids"]).logits.double()
            logs = logits.log_softmax(-1)
            kept = batch["targets"] != -100
            picked = logs.gather(-1, batch["targets"].clamp(min=0).unsqueeze(-1)).squeeze(-1)
            nats -= picked[kept].sum().item()
            targets += int(kept.sum())
    assert row["val/loss"] == pytest.approx(nats / targets, rel=1e-6)
    assert row["val/perplexity"] == pytest.approx(math.exp(nats / targets), rel=1e-6)
    assert row["val/bits_per_byte"] == pytest.approx(nats / math.log(2) / 1000, rel=1e-6)


def test_a_budget_of_seconds_ends_at_the_next_step(fit):
    run = fit(seconds=0.5)
    last = run.rows("train/loss")[-1]
    before = run.rows("train/loss")[-3]  # written before the step after it was begun
    assert before["seconds"] < 0.5 <= last["seconds"]
    assert run.rows("val/loss")[-1]["step"] == last["step"]
    assert len(run.rows("val/loss")) >= 8


def test_a_budget_too_short_for_a_step_still_takes_one(fit):
    assert fit(seconds=1e-6).trainer.global_step == 1


def test_seconds_leave_out_validation(fit):
    class SlowValidation(L.Callback):
        def on_validation_epoch_end(self, *_):
            time.sleep(0.3)

    run = fit(steps=4, every=1, extra=(SlowValidation(),))
    assert run.rows("val/loss")[-1]["seconds"] < 1.0


@pytest.mark.parametrize("where", ["train", "val"])
def test_a_loss_that_is_not_finite_stops_with_one_sentence(fit, where, monkeypatch):
    honest = GPT.next_token_loss

    def broken(self, *args, **kwargs):
        loss = honest(self, *args, **kwargs)
        return loss * float("nan") if self.training == (where == "train") else loss

    monkeypatch.setattr(GPT, "next_token_loss", broken)
    sentence = rf"^optimizer\.lr=0\.01: .*{where}/loss is nan at step \d"
    with pytest.raises(UserError, match=sentence) as error:
        fit(steps=4, every=2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("block", [{}, {"position_encoding": "rope", "qk_norm": True}], ids=["gpt2", "modern"])
def test_compiling_changes_neither_losses_nor_names_and_equal_blocks_share_it(fit, monkeypatch, block):
    # the graph is traced as for any backend; generating code for it would take a minute
    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    monkeypatch.setattr(loss_module, "CHUNKED_FROM", 0)  # so that the loss has parts
    shape = {"n_layer": 4, **block}
    compiled = fit(steps=3, every=2, compile=True, name="a", model=tiny_model(**shape))
    plain = fit(steps=3, every=2, name="b", model=tiny_model(**shape))
    # the loss, and a block; where rotations are made, the first block makes them for the others
    assert counter.frame_count == (3 if block else 2)

    def written(model, *_):
        return [str(model(torch.zeros(1, n, dtype=torch.long)).logits.shape) for n in (2, 3, 4)]

    # the texts at the end, whose lengths are many, are not compiled
    monkeypatch.setattr("smallgpt.inference.generate.generate", written)
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda *_, **__: None)
    settings: Any = SimpleNamespace(prompt=("a",), generation=None, seed=1)
    prepared: Any = SimpleNamespace(tokenizer_dir=None)
    assert len(samples(settings, compiled.module, prepared, compiled.directory)) == 3
    assert counter.frame_count == (3 if block else 2)
    assert set(compiled.module.model.state_dict()) == set(tiny_model(**shape).state_dict())
    for a, b in zip(compiled.rows("train/loss"), plain.rows("train/loss"), strict=True):
        assert a["train/loss"] == pytest.approx(b["train/loss"], rel=1e-5)


def test_seconds_leave_out_a_stopped_process(fit):
    class Stopped(L.Callback):
        """As Ctrl-Z and fg would, in the middle of the run."""

        def on_train_batch_start(self, trainer, *_):
            if trainer.global_step == 2:
                words = f"kill -STOP {os.getpid()}; sleep 1; kill -CONT {os.getpid()}"
                subprocess.run(["sh", "-c", words], check=True)

    begun = time.monotonic()
    run = fit(steps=4, extra=(Interruption(None), Stopped()))
    assert time.monotonic() - begun > 1
    last = run.rows("train/loss")[-1]
    assert last["seconds"] < 0.9
    assert all(row["speed/tokens_per_second"] > 4 * BLOCK / 0.9 for row in run.rows("speed/tokens_per_second"))


def test_steps_in_which_no_time_passed_have_no_rate(fit, monkeypatch):
    monkeypatch.setattr(run_length, "time", SimpleNamespace(perf_counter=lambda: 1.0))
    run = fit(steps=2)
    assert len(run.rows("train/loss")) == 2 and not run.rows("speed/tokens_per_second")
