"""Our variants under the trainers of other libraries: transformers' own, trl's and peft's adapters."""

from pathlib import Path

import pytest
import torch
from helpers import VARIANTS, Case, build_model
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

ROWS = 8


def rows() -> list[dict[str, torch.Tensor]]:
    """Texts of which more and more is not scored, so that a mean over micro-batches is not the mean over tokens."""
    ids = torch.randint(1, 96, (ROWS, 12), generator=torch.Generator().manual_seed(0))
    labels = torch.stack([torch.where(torch.arange(12) < row, -100, text) for row, text in enumerate(ids)])
    return [{"input_ids": text, "labels": label} for text, label in zip(ids, labels, strict=True)]


def arguments(folder: Path, accumulation: int) -> dict:
    return {
        "output_dir": str(folder),
        "max_steps": 1,
        "per_device_train_batch_size": ROWS // accumulation,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
    }


def model_of(name: str):
    torch.manual_seed(0)
    if name == "library":  # what the trainers are written for
        return GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=64, vocab_size=96, n_positions=32,
                                          resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))  # fmt: skip
    return build_model(Case(name, "modern"))


def first_step(trainer: Trainer) -> tuple[float, float]:
    """Loss and gradient norm of a step."""
    trainer.train()
    (logged,) = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    return logged["loss"], float(logged["grad_norm"])


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("library", "canon_bowtie") else pytest.param(name, marks=pytest.mark.slow)
        for name in ("library", *VARIANTS)
    ],
)
def test_accumulation_changes_neither_loss_nor_gradient(name, tmp_path):
    steps = [
        first_step(Trainer(model_of(name), TrainingArguments(**arguments(tmp_path, n)), train_dataset=rows()))
        for n in (1, 2, ROWS)
    ]
    for loss, norm in steps[1:]:
        assert (loss, norm) == pytest.approx(steps[0], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("name", ["library", *VARIANTS])
def test_supervised_fine_tuning_is_the_same_however_it_accumulates(name, packing, tmp_path):
    trl = pytest.importorskip("trl", reason="trl is not installed")
    from datasets import Dataset
    from small_checkpoints import tokenizer

    texts = Dataset.from_dict({"input_ids": [row["input_ids"].tolist() for row in rows()]})
    steps = []
    for n in (1, ROWS):
        given = arguments(tmp_path, n) | {"packing": packing, "max_length": 12, "loss_type": "nll", "bf16": False}
        if packing:
            given |= {"padding_free": True}
        trainer = trl.SFTTrainer(
            model=model_of(name), args=trl.SFTConfig(**given), train_dataset=texts, processing_class=tokenizer()
        )
        steps.append(first_step(trainer))
    assert steps[1] == pytest.approx(steps[0], rel=1e-3)


@pytest.mark.parametrize("name", VARIANTS)
def test_an_adapter_finds_every_map_of_the_blocks(name, tmp_path):
    peft = pytest.importorskip("peft", reason="peft is not installed")
    model = model_of(name)
    before = model(ids := rows()[0]["input_ids"][None]).logits
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    targets = {key.rpartition(".")[2] for key in adapted.targeted_module_names}
    assert {"c_attn", "c_proj", "c_fc"} <= targets and "lm_head" not in targets
    torch.testing.assert_close(adapted(ids).logits, before)  # an adapter begins at zero
    adapted(ids, labels=ids).loss.backward()
    assert all(p.grad is not None for p in adapted.parameters() if p.requires_grad)
    adapted.save_pretrained(tmp_path)
    assert (tmp_path / "adapter_model.safetensors").is_file()
