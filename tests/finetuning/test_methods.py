"""Methods of fine-tuning: what is frozen stays as it is to the bit, and LoRA is an adapter like any other."""

import copy

import pytest
import torch
from helpers import SMALL, VARIANTS, Case, build_model, model_class
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from smallgpt.errors import UserError
from smallgpt.finetuning.adapted import ADAPTER, Adapted, read_adapted
from smallgpt.finetuning.methods import adapt, learning
from smallgpt.finetuning.objectives import Completions, Labels
from smallgpt.settings import FineTuning
from smallgpt.training.optimizers import AdamW

LABELS = ("bad", "good", "mixed")
UNTIED = {"tie_word_embeddings": False}


def batch(labels: bool = False) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(SMALL["vocab_size"], (4, 12), generator=generator)
    found = {"input_ids": ids, "targets": ids.roll(-1, 1), "scale": torch.tensor(1 / 48)}
    return found | ({"labels": torch.tensor([0, 1, 2, 1])} if labels else {})


def trained(adapted: Adapted, labels: bool = False, steps: int = 3) -> set[str]:
    """Names of the weights that a few steps change; every weight is compared."""
    before = copy.deepcopy(adapted.state_dict())
    optimizer = AdamW(lr=1e-2).build(adapted)  # ty: ignore[invalid-argument-type]
    objective = Labels(adapted) if labels else Completions(adapted)
    for _ in range(steps):
        objective.mean(batch(labels)).backward()
        optimizer.step()
        optimizer.zero_grad()
    after = adapted.state_dict()
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("variant", ["gpt", "convgpt", "parallelgpt"])
def test_full_changes_every_weight(variant: str):
    adapted = adapt(build_model(Case(variant, "gpt2")), FineTuning(method="full"))
    assert trained(adapted) == set(adapted.state_dict())


@pytest.mark.parametrize("variant", ["gpt", "canon"])
def test_the_head_of_labels_alone(variant: str):
    adapted = adapt(build_model(Case(variant, "modern")), FineTuning(method="head"), LABELS)
    assert trained(adapted, labels=True) == {"head.weight", "head.bias"}
    assert learning(adapted)[0] == sum(p.numel() for p in adapted.head.parameters())


def test_the_head_of_tokens_alone():
    adapted = adapt(build_model(Case("gpt", "gpt2", UNTIED)), FineTuning(method="head"))
    assert trained(adapted) == {"causal.lm_head.weight"}
    with pytest.raises(UserError, match="output head is its embedding"):
        adapt(build_model(Case("gpt", "modern", {"tie_word_embeddings": True})), FineTuning(method="head"))


def test_one_path_stays_and_is_the_model_of_before():
    model = build_model(Case("parallelgpt", "modern"))
    before = model_class("parallelgpt")(type(model.config)(**{**model.config.to_dict(), "active_paths": [1]})).eval()
    before.load_state_dict(model.state_dict())
    adapted = adapt(model, FineTuning(method="path", frozen_path=1))
    changed = trained(adapted)
    assert changed and all(".inputs.0." in name or ".paths.0." in name or "path_weight" in name for name in changed)
    after = model_class("parallelgpt")(before.config).eval()
    after.load_state_dict(model.state_dict())
    ids = batch()["input_ids"]
    assert torch.equal(after(ids).logits, before(ids).logits)
    for settings, part in (({"frozen_path": 2}, "paths 0 to 1"), ({}, "of ParallelGPT alone")):
        other = model if settings else build_model(Case("gpt", "modern"))
        with pytest.raises(UserError, match=part):
            adapt(other, FineTuning(method="path", **settings))


@pytest.mark.parametrize("variant", VARIANTS)
def test_lora_merges_to_the_same_logits_and_loads_in_plain_peft(tmp_path, variant: str):
    from peft import PeftModel

    model = build_model(Case(variant, "modern"))
    base = copy.deepcopy(model)
    adapted = adapt(model, FineTuning(method="lora", rank=4), origin="base")
    frozen = {name for name in adapted.state_dict() if ".lora_" not in name}
    changed = trained(adapted)
    assert changed and not changed & frozen
    # every addition counts: none lies at a map whose weight is read past it
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)
    adapted.eval()
    ids = batch()["input_ids"]
    expected = adapted.logits(ids)
    assert not torch.allclose(base.eval()(ids).logits, expected, atol=1e-3)
    adapted.save_pretrained(tmp_path)
    merged = model_class(variant).from_pretrained(tmp_path).eval()
    torch.testing.assert_close(merged(ids).logits, expected, atol=1e-5, rtol=1e-5)
    plain = PeftModel.from_pretrained(base, tmp_path / ADAPTER).eval()
    torch.testing.assert_close(plain(ids).logits, expected, atol=1e-5, rtol=1e-5)
    weights = load_file(tmp_path / ADAPTER / "adapter_model.safetensors")
    assert sum(value.numel() for value in weights.values()) == learning(adapted)[0]


SHAPE = {"vocab_size": SMALL["vocab_size"], "tie_word_embeddings": False}
PUBLISHED = {
    "gpt2": GPT2Config(n_positions=32, n_embd=32, n_layer=2, n_head=2, **SHAPE),
    "llama": LlamaConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, **SHAPE),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_lora_of_a_model_of_the_library_merges_and_loads_too(tmp_path, name: str):
    from peft import PeftModel

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(PUBLISHED[name])
    base = copy.deepcopy(model).eval()
    adapted = adapt(model, FineTuning(method="lora", rank=4), LABELS, origin="base")
    frozen = {name for name in adapted.state_dict() if ".lora_" not in name and not name.startswith("head.")}
    changed = trained(adapted, labels=True)
    assert not changed & frozen and any(".lora_" in name for name in changed)
    adapted.eval()
    ids = batch()["input_ids"]
    expected, labels = adapted.logits(ids), adapted.label_logits(ids)
    adapted.save_pretrained(tmp_path)
    again = read_adapted(AutoModelForCausalLM.from_pretrained(tmp_path), tmp_path).eval()
    torch.testing.assert_close(again.logits(ids), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(again.label_logits(ids), labels, atol=1e-5, rtol=1e-5)
    plain = PeftModel.from_pretrained(base, tmp_path / ADAPTER).eval()
    torch.testing.assert_close(plain(ids).logits, expected, atol=1e-5, rtol=1e-5)


def test_an_adapter_goes_on_and_that_of_another_model_is_refused(tmp_path):
    adapted = adapt(build_model(Case("gpt", "modern")), FineTuning(method="lora"))
    trained(adapted)
    adapted.save_pretrained(tmp_path)
    settings = FineTuning(method="lora", adapter=tmp_path / ADAPTER)
    again = adapt(build_model(Case("gpt", "modern")), settings)
    ids = batch()["input_ids"]
    torch.testing.assert_close(again.eval().logits(ids), adapted.eval().logits(ids))
    assert learning(again) == learning(adapted)
    with pytest.raises(UserError, match=r"of another model: it adds to .*has a map of"):
        adapt(build_model(Case("gpt", "modern", {"n_embd": 32})), settings)
    with pytest.raises(UserError, match=r"of another model: it adds to .*has no such map"):
        adapt(build_model(Case("parallelgpt", "modern")), settings)
    with pytest.raises(UserError, match="no adapter that peft has saved"):
        adapt(build_model(Case("gpt", "modern")), FineTuning(method="lora", adapter=tmp_path / "nothing"))
    with pytest.raises(UserError, match=r"finetune\.targets=c_atn: no map of this model; did you mean 'c_attn'\?"):
        adapt(build_model(Case("gpt", "modern")), FineTuning(method="lora", targets=("c_atn",)))


def test_the_head_of_labels_is_saved_beside_the_model(tmp_path):
    adapted = adapt(build_model(Case("lineargpt", "modern")), FineTuning(), LABELS)
    trained(adapted, labels=True)
    adapted.eval().save_pretrained(tmp_path)
    again = read_adapted(model_class("lineargpt").from_pretrained(tmp_path), tmp_path).eval()
    ids = batch()["input_ids"]
    assert again.labels == LABELS
    torch.testing.assert_close(again.label_logits(ids), adapted.label_logits(ids))
    (tmp_path / "label_head" / "labels.json").write_text('["bad"]')
    with pytest.raises(UserError, match="label_head is damaged"):
        read_adapted(adapted.causal, tmp_path)
