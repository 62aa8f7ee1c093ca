"""task=import: a GPT-2 of transformers and nanoGPT's become a run that every task takes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import CommandLine
from helpers import CASES
from small_checkpoints import VOCABULARY, save_checkpoint, tokenizer
from test_recomputed import write_text
from transformers import GPT2Config, GPT2LMHeadModel

from smallgpt.errors import UserError
from smallgpt.inference.checkpoint import load_checkpoint
from smallgpt.inference.foreign_checkpoint import load_foreign, read_foreign
from smallgpt.launch.foreign import of_foreign

CLOSE = 2e-6
SIZES = {"n_layer": 2, "n_head": 2, "n_embd": 32}
IMPORT = ("task=import", "hydra.run.dir=run")


def gpt2(**changes: Any) -> GPT2LMHeadModel:
    """A random GPT-2 whose biases and gains are not the zeros and ones that they begin as."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**{"vocab_size": 320, "n_positions": 48, **SIZES, **changes})).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    return model


def save_gpt2(folder: str, with_tokenizer: bool = True, **changes: Any) -> GPT2LMHeadModel:
    model = gpt2(**changes)
    model.save_pretrained(folder)
    if with_tokenizer:
        tokenizer().save_pretrained(folder)
    return model


def nanogpt(model: GPT2LMHeadModel, bias: bool = True, prefix: str = "_orig_mod.") -> dict[str, Any]:
    """What nanoGPT would have saved of this model: nn.Linear's weights, and the names of its own classes."""
    names = {name: weight for name, weight in model.state_dict().items() if bias or not name.endswith(".bias")}
    matrices = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    weights = {prefix + n: w.T.contiguous() if n.endswith(matrices) else w.clone() for n, w in names.items()}
    weights[f"{prefix}lm_head.weight"] = weights[f"{prefix}transformer.wte.weight"]
    weights[f"{prefix}transformer.h.0.attn.bias"] = torch.ones(1, 1, 48, 48).tril()
    arguments = {"block_size": 48, "vocab_size": 320, "bias": bias, "dropout": 0.0, **SIZES}
    best = {"iter_num": 7, "best_val_loss": torch.tensor(3.0), "config": {"out_dir": "out", "device": "cpu"}}
    return {"model": weights, "model_args": arguments, "optimizer": {"state": {}, "param_groups": []}, **best}


def logits(model: Any) -> torch.Tensor:
    ids = torch.randint(VOCABULARY, (3, 48), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        return model.eval()(input_ids=ids).logits


def assert_same(run: str, original: GPT2LMHeadModel) -> None:
    model, words = load_checkpoint(run)
    assert type(model).__name__ == "GPT" and len(words) == VOCABULARY
    assert float((logits(model) - logits(original)).abs().max()) <= CLOSE


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"activation_function": "gelu", "tie_word_embeddings": False, "n_inner": 72, "n_head": 4, "resid_pdrop": 0.2},
        {"dtype": "float16"},
    ],
    ids=str,
)
def test_a_gpt2_of_transformers_keeps_its_logits(cli: CommandLine, changes: dict[str, Any]):
    original = save_gpt2("gpt2", **{name: value for name, value in changes.items() if name != "dtype"})
    if "dtype" in changes:
        original.half().save_pretrained("gpt2")
        original.float()
    done = cli(*IMPORT, "checkpoint=gpt2")
    assert done.code == 0, done.err
    assert_same("run", original)
    result = json.loads(Path("run/result.json").read_text())
    assert (result["task"], result["variant"], result["status"]) == ("import", "gpt", "completed")
    assert result["import"]["largest_logit_difference"] <= CLOSE
    assert result["cost"]["parameters"] == sum(p.numel() for p in original.parameters())
    assert not {"model", "size", "block", "tokenizer"} & set(result["choices"])


@pytest.mark.parametrize("bias", [True, False])
def test_nanogpts_file_keeps_its_logits(cli: CommandLine, bias: bool):
    original = gpt2(activation_function="gelu")
    if not bias:
        for name, weight in original.named_parameters():
            if name.endswith(".bias"):
                weight.data.zero_()
    Path("out").mkdir()
    torch.save(nanogpt(original, bias), "out/ckpt.pt")
    tokenizer().save_pretrained("words")
    named = ("tokenizer=pretrained", "tokenizer.name=words")
    assert "has no tokenizer; name the one" in cli.refused(*IMPORT, "checkpoint=out/ckpt.pt")
    assert "knows its tokens already" in cli.refused(*IMPORT, "checkpoint=out", "tokenizer=bpe")
    done = cli(*IMPORT, "checkpoint=out", *named)
    assert done.code == 0, done.err
    assert_same("run", original)
    assert load_checkpoint("run")[0].config.bias == bias


@pytest.fixture
def imported(cli: CommandLine) -> CommandLine:
    """A folder with an import in `run`."""
    save_gpt2("gpt2")
    write_text(Path("text"))
    assert cli(*IMPORT, "checkpoint=gpt2").code == 0
    return cli


def test_an_import_is_continued(imported: CommandLine):
    data = ("data=files", "data.path=text", "validation.final_tokens=256", "generation.max_new_tokens=2")
    done = imported(*data, "checkpoint=run", "batch.tokens=96", "budget.tokens=192", "hydra.run.dir=longer")
    assert done.code == 0, done.err
    origin = json.loads(Path("longer/result.json").read_text())["origin"]
    assert origin == {"checkpoint": str(Path("run").resolve()), "weights": None, "variant": "gpt"}


@pytest.mark.slow
def test_an_import_is_evaluated_benchmarked_quantized_and_exported(imported: CommandLine):
    pytest.importorskip("lm_eval")
    pytest.importorskip("onnxruntime")
    for words in (
        ("task=evaluate", "eval=own", "eval.corpora=text/validation.jsonl", "eval.limit=3", "eval.untrained=false"),
        ("task=generate", "prompt=a b", "generation.max_new_tokens=3", "quantize=int8_dynamic"),
        ("task=benchmark", "benchmark.rounds=1", "benchmark.batches=[1]", "benchmark.prompts=[4]",
         "benchmark.new_tokens=2", "benchmark.profile=false"),
        ("task=export", "format=onnx"),
        ("task=export", "format=hf"),
    ):  # fmt: skip
        done = imported(*words, "checkpoint=run")
        assert done.code == 0, (words, done.err)
    result = json.loads(Path("run/result.json").read_text())
    assert {"evaluation", "inference"} <= result.keys()
    card = next(Path("outputs").rglob("hf/README.md")).read_text()
    assert "imported from GPT-2 of transformers (gpt2)" in card and "trained with smallgpt" not in card


def without(*names: str) -> Any:
    return lambda saved: [saved["model"].pop(f"_orig_mod.{name}") for name in names]


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        (without("transformer.ln_f.bias"), "1 weights are missing, ln_f.bias among them"),
        (lambda saved: saved["model"].update({"transformer.h.0.moe.gate": torch.ones(2)}), "h.0.moe.gate has no place"),
        (lambda saved: saved["model_args"].update(n_kv_head=1), "its n_kv_head=1 is none of nanoGPT's arguments"),
        (lambda saved: saved["model_args"].pop("bias"), "its model_args lack bias"),
        (lambda saved: saved["model_args"].update(n_embd=33), "n_embd=33: n_head=2 does not divide it"),
        (lambda saved: saved["model_args"].update(n_layer="two"), "n_layer=two: must be "),
        (lambda saved: saved["model_args"].update(block_size=32), "wpe.weight is (48, 32), not (32, 32)"),
        (lambda saved: saved["model"]["_orig_mod.transformer.ln_f.bias"].fill_(float("nan")), "holds NaN"),
        (lambda saved: saved.pop("model_args"), "no model_args in it"),
        (lambda saved: saved.update(hook=print), "it holds code, which is never run"),
        (lambda saved: saved["model_args"].update(vocab_size=200), "has 257 tokens, and the model 200"),
        (lambda saved: saved["model_args"].update(vocab_size=4096), "has 257 tokens, and the model 4,096"),
    ],
)
def test_a_nanogpt_file_that_does_not_map_is_refused(tmp_path: Path, damage: Any, part: str):
    saved = nanogpt(gpt2())
    damage(saved)
    torch.save(saved, tmp_path / "ckpt.pt")
    tokenizer().save_pretrained(tmp_path / "words")
    plain = {"checkpoint": str(tmp_path / "ckpt.pt"), "tokenizer": {"name": str(tmp_path / "words")}}
    with pytest.raises(UserError, match=re.escape(part)):
        of_foreign(plain, {"tokenizer"})
        load_foreign(plain["checkpoint"], read_foreign(plain["checkpoint"]).config)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"scale_attn_by_inverse_layer_idx": True}, "its scale_attn_by_inverse_layer_idx=true has no place in a GPT"),
        ({"scale_attn_weights": False}, "its scale_attn_weights=false has no place in a GPT, only true"),
        ({"layer_norm_epsilon": 1e-6}, "its layer_norm_epsilon=1e-06 has no place in a GPT, only 1e-05"),
        ({"activation_function": "silu"}, "its activation_function=silu has no place in a GPT, only gelu_new"),
        ({"n_inner": 100}, "its n_inner=100 has no place in a GPT; the nearest is 96"),
        ({"vocab_size": 256}, "its tokenizer: has 257 tokens, and the model 256"),
        ({"with_tokenizer": False}, "has no tokenizer; name the one"),
    ],
    ids=str,
)
def test_a_gpt2_that_does_not_map_is_refused(tmp_path: Path, changes: dict[str, Any], part: str):
    save_gpt2(str(tmp_path / "gpt2"), **changes)
    with pytest.raises(UserError, match=re.escape(part)):
        of_foreign({"checkpoint": str(tmp_path / "gpt2"), "tokenizer": {"vocab_size": 300}}, set())


def test_other_words_say_where_to_go(cli: CommandLine):
    save_gpt2("gpt2")
    saved = nanogpt(gpt2())
    saved["model"]["_orig_mod.transformer.wpe.weight"][0, 0] = float("inf")
    torch.save(saved, "ckpt.pt")
    assert "task=import makes it one of them" in cli.refused("checkpoint=gpt2")
    assert "task=import reads nanoGPT's" in cli.refused("task=generate", "checkpoint=ckpt.pt")
    fitting = ("tokenizer=pretrained", "tokenizer.name=gpt2")
    for words, part in (
        ((), "task=import needs one model folder"),
        (("checkpoint=[a,b]",), "task=import needs one model folder"),
        (("checkpoint=ckpt.pp",), "no such folder; did you mean 'ckpt.pt'?"),
        (("checkpoint=ckp.pt",), "no such file; did you mean 'ckpt.pt'?"),
        (("checkpoint=gpt2", "model=convgpt"), "model=convgpt: task=import does not use it"),
        (("checkpoint=ckpt.pt", *fitting), "the weight wpe.weight holds NaN or infinity"),  # and nothing is left
    ):
        assert part in cli.refused(*IMPORT, *words)


def test_a_model_of_ours_needs_no_import(tmp_path: Path):
    save_checkpoint(CASES[0], tmp_path / "ours")
    with pytest.raises(UserError, match="one of smallgpt's own models"):
        read_foreign(str(tmp_path / "ours"))
