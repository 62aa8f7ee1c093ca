"""A training that begins from a wider model's weights, or learns from its logits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_run import BLOCK, VOCABULARY, tiny_model

from smallgpt.errors import UserError
from smallgpt.models.cost import cost
from smallgpt.tasks import train
from smallgpt.training.distillation import Distillation
from smallgpt.training.metrics import Recorder

SHORT = ("generation.max_new_tokens=1", "validation.final_tokens=512", "validation.tokens=512")
NARROWER = ("model.n_embd=32", "model.n_head=2", "model.n_layer=1")


@pytest.fixture(scope="module")
def teacher(run_task, tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("teacher")
    wide = ("model.n_embd=64", "model.n_layer=2", "budget.tokens=20000", "optimizer.lr=1e-2", *SHORT)
    run_task(train.run, run_dir, *wide)
    return run_dir


def loss_at_the_start(run_task, tmp_path: Path, teacher: Path, *words: str) -> tuple[float, dict[str, Any]]:
    still = ("budget.tokens=512", "optimizer.lr=1e-12", *SHORT)
    result = run_task(train.run, tmp_path / "-".join(words), f"checkpoint={teacher}", *still, *words)
    return result["val"]["loss"], result


def test_a_warm_start_is_better_than_a_random_one_and_exact_at_equal_size(run_task, tmp_path, teacher):
    random, _ = loss_at_the_start(run_task, tmp_path, teacher, "first_weights=random", *NARROWER)
    warm, result = loss_at_the_start(run_task, tmp_path, teacher, *NARROWER)
    assert warm < random - 0.3
    assert result["origin"]["narrowing"]["layers"] == [0] and 0 < result["origin"]["narrowing"]["errors"]["MLP"] < 1
    _, same = loss_at_the_start(run_task, tmp_path, teacher)
    assert "narrowing" not in same["origin"]
    copied, best = (
        load_file(folder / "model.safetensors")
        for folder in (tmp_path / "checkpoints" / "last", teacher / "checkpoints" / "best")
    )
    assert all(torch.allclose(copied[name], best[name], atol=1e-6) for name in best)


def test_the_loss_is_that_of_text_and_teacher():
    student, teacher = tiny_model(), tiny_model(n_embd=48, n_layer=1)
    with torch.no_grad():
        for weight in teacher.parameters():
            weight.mul_(3)
    ids = torch.randint(VOCABULARY, (2, BLOCK + 1), generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": ids[:, :-1], "targets": ids[:, 1:].clone()}
    batch["targets"][0, :3] = -100
    objective = Distillation(student, teacher, weight=0.25, temperature=3.0)
    loss = objective.mean(batch)
    loss.backward()
    with torch.no_grad():
        q, p = (torch.log_softmax(model(batch["input_ids"]).logits / 3, -1) for model in (teacher, student))
        scored = batch["targets"] != -100
        divergence = (q.exp() * (q - p)).sum(-1)[scored].mean()
        expected = 0.75 * student.next_token_loss(batch["input_ids"], batch["targets"]) + 0.25 * 9 * divergence
    torch.testing.assert_close(loss.detach(), expected)
    assert all(weight.grad is not None for weight in student.parameters())
    assert all(weight.grad is None for weight in teacher.parameters())
    measured = objective.measured({**batch, "bytes": torch.ones(2)})
    loss = measured["nats"] / measured["tokens"].sum()
    torch.testing.assert_close(loss, student.next_token_loss(batch["input_ids"], batch["targets"]))


def test_the_budget_counts_the_teacher_and_a_resumed_run_equals_a_whole_one(run_task, tmp_path, teacher, monkeypatch):
    words = [f"checkpoint={teacher}", f"distill.from={teacher}", "budget=flops", "budget.flops=3e9", *NARROWER, *SHORT]
    words += ["resume=auto", "validation.every=4", "log_every=1"]
    whole = run_task(train.run, tmp_path / "whole", *words)
    price = whole["cost"]
    assert price["training_flops_per_token"] == 3 * price["forward_flops_per_token"] + price["teacher_flops_per_token"]
    assert price["teacher_flops_per_token"] > price["forward_flops_per_token"]
    assert whole["train"]["steps"] == -(-3e9 // (512 * price["training_flops_per_token"])) > 9
    record = Recorder.on_train_batch_end

    def kill(self, trainer, module, *rest):
        record(self, trainer, module, *rest)
        if trainer.global_step == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(Recorder, "on_train_batch_end", kill)
    with pytest.raises(BaseException):  # noqa: B017  whatever it becomes, the run has ended
        run_task(train.run, tmp_path / "halves", *words)
    monkeypatch.undo()
    halves = run_task(train.run, tmp_path / "halves", *words)
    assert halves["val"] == whole["val"] and halves["origin"] == whole["origin"]
    ours, theirs = (load_file(tmp_path / name / "checkpoints/last/model.safetensors") for name in ("whole", "halves"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    weights = teacher / "checkpoints/best/model.safetensors"
    before = load_file(weights)
    try:
        save_file({name: value * 1.01 for name, value in before.items()}, weights, {"format": "pt"})
        with pytest.raises(UserError, match=r"was trained with another teacher") as error:
            run_task(train.run, tmp_path / "halves", *words)
    finally:
        save_file(before, weights, {"format": "pt"})
    assert "\n" not in str(error.value)


def test_a_teacher_of_other_tokens_is_refused(run_task, tmp_path, teacher):
    for words, match in (
        (["tokenizer.vocab_size=400"], "has logits of 320 tokens, and the model has 448; a teacher needs the same"),
        (["tokenizer.vocab_size=290"], "its tokenizer is not the one of this training"),
        (["model.block_size=64"], "reads 32 tokens; model.block_size=32 or less"),
    ):
        with pytest.raises(UserError, match=match) as error:
            run_task(train.run, tmp_path, f"distill.from={teacher}", *words, "budget.tokens=512", *SHORT)
        assert "\n" not in str(error.value)


def test_a_teacher_costs_its_forward_pass():
    from smallgpt.models.cost import training_cost

    small, large = tiny_model().config, tiny_model(n_embd=64).config
    alone, taught = training_cost(small), training_cost(small, large)
    assert alone == cost(small)
    assert taught.training_flops_per_token - alone.training_flops_per_token == cost(large).forward_flops_per_token
