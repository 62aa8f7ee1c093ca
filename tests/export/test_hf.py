"""format=hf: a folder that transformers loads where smallgpt is not."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from helpers import CASES, Case
from small_checkpoints import EXPORTED, model_of, save_checkpoint, tokenizer, tokens
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from smallgpt.errors import UserError
from smallgpt.export import hf, verify_hf
from smallgpt.files import whole_folder
from smallgpt.finetuning.adapted import Adapted
from smallgpt.model_folder import write_model

ALL_AT_ONCE = """
import sys
sys.modules["smallgpt"] = None
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
root, ids = sys.argv[1], torch.tensor([eval(sys.argv[2])])
for number in range(int(sys.argv[3])):
    model = AutoModelForCausalLM.from_pretrained(f"{root}/case{number}", trust_remote_code=True).eval()
    with torch.inference_mode():
        torch.save([type(model).__name__, model(ids).logits], f"{root}/{number}.pt")
"""


def elsewhere(code: str, folder, *words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "HF_MODULES_CACHE": str(folder / "modules")}
    command = [sys.executable, "-I", "-c", code, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Logits of every case, by a process without smallgpt."""
    root = tmp_path_factory.mktemp("hf")
    for number, case in enumerate(EXPORTED):
        hf.write_hf_folder(model_of(case), tokenizer(), root / f"case{number}", bf16=False)
    done = elsewhere(ALL_AT_ONCE, root, str(root), str(tokens(20)), str(len(EXPORTED)))
    assert done.returncode == 0, done.stderr
    return [torch.load(root / f"{number}.pt", weights_only=True) for number in range(len(EXPORTED))]


@pytest.mark.parametrize("number", range(len(EXPORTED)), ids=[str(case) for case in EXPORTED])
def test_every_variant_gives_the_same_logits_without_smallgpt(loaded, number):
    model = model_of(EXPORTED[number])
    name, logits = loaded[number]
    assert name == type(model).__name__
    with torch.inference_mode():
        torch.testing.assert_close(logits, model(torch.tensor([tokens(20)])).logits, atol=1e-6, rtol=1e-6)


def test_the_task_checks_what_it_wrote_and_its_card_says_how_to_use_it(cli):
    save_checkpoint(EXPORTED[-1], cli.folder / "model")
    done = cli("task=export", "checkpoint=model", "quantize=bf16", "hydra.run.dir=out")
    assert done.code == 0, done.err
    section = done.result["export"]
    assert section["format"] == "hf" and section["quantize"] == "bf16"
    assert 0 < section["largest_logit_difference"] < 0.5
    folder = cli.folder / "out" / "hf"
    assert section["bytes"] == sum(path.stat().st_size for path in folder.iterdir())
    assert not list(folder.parent.glob(".hf*")) and not list(folder.glob("matching.py"))
    files = {path.name for path in folder.iterdir()}
    assert files >= {"README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}
    # the card's own example
    (code,) = re.findall("```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    used = elsewhere("import sys; sys.modules['smallgpt'] = None\n" + code.replace("FOLDER", str(folder)), cli.folder)
    assert used.returncode == 0, used.stderr
    assert used.stdout.startswith("Once upon a time")
    # smallgpt itself reads the folder too, and the run directory it lies in
    again = cli("task=generate", "checkpoint=out", "hydra.run.dir=text", "generation.max_new_tokens=3")
    assert again.code == 0, again.err
    assert AutoModelForCausalLM.from_pretrained(folder).dtype == torch.bfloat16


def test_later_saves_of_the_process_carry_no_code(tmp_path):
    model = model_of(CASES[0])
    hf.write_hf_folder(model, tokenizer(), tmp_path / "hf", bf16=False)
    model.save_pretrained(tmp_path / "plain")
    assert not list((tmp_path / "plain").glob("*.py"))
    assert "auto_map" not in (tmp_path / "plain" / "config.json").read_text()


@pytest.mark.parametrize(("damage", "says"), [("weights", "logits differ"), ("code", "does not load")])
def test_a_folder_that_differs_is_refused_and_leaves_nothing(tmp_path, damage, says):
    model, words = model_of(CASES[0]), tokenizer()
    before = verify_hf.answers(model, len(words))
    with (
        pytest.raises(UserError, match=f"^format=hf: the folder.*{says}") as error,
        whole_folder(tmp_path / "hf") as folder,
    ):
        hf.write_hf_folder(model, words, folder, bf16=False)
        if damage == "weights":
            with torch.no_grad():
                model.transformer.wte.weight *= 1.1  # a norm takes away what is added to all coordinates
        else:
            (folder / "layers.py").unlink()
        verify_hf.verify_hf(model, words, folder, before)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "case", [Case("gpt", "gpt2"), pytest.param(Case("bowtie", "modern"), marks=pytest.mark.slow)], ids=str
)
def test_a_head_that_says_labels_becomes_a_classifier(cli, case):
    adapted = Adapted(model_of(case, block_size=16), ("bad", "good", "so so"))  # shorter than the texts of the check
    assert adapted.head is not None
    torch.nn.init.normal_(adapted.head.weight, generator=torch.Generator().manual_seed(0))
    write_model(adapted, cli.folder / "model")
    tokenizer().save_pretrained(cli.folder / "model")
    done = cli("task=export", "checkpoint=model", "hydra.run.dir=out")
    assert done.code == 0, done.err
    section, folder = done.result["export"], cli.folder / "out" / "hf"
    assert section["labels"] == ["bad", "good", "so so"] and section["largest_logit_difference"] < 1e-5
    config = json.loads((folder / "config.json").read_text())
    (name,) = config["architectures"]
    assert config["auto_map"]["AutoModelForSequenceClassification"].endswith(name)
    card = (folder / "README.md").read_text()
    assert "pipeline_tag: text-classification" in card and "AutoModelForSequenceClassification" in card
    # padded on either side, its answers are those of the model with its head
    ids = torch.tensor([tokens(9)])
    with torch.inference_mode():
        expected = adapted.eval().label_logits(ids)
        classifier = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        for sides in ((0, 4), (4, 0)):
            padded, mask = (torch.nn.functional.pad(part, sides) for part in (ids, torch.ones_like(ids)))
            torch.testing.assert_close(classifier(padded, attention_mask=mask).logits, expected, atol=1e-5, rtol=1e-5)
        read = classifier(ids[:, :5], use_cache=True)
        rest = classifier(ids[:, 5:], attention_mask=torch.ones_like(ids), past_key_values=read.past_key_values)
        torch.testing.assert_close(rest.logits, expected, atol=1e-5, rtol=1e-5)
    refused = cli.refused("task=generate", "checkpoint=out", "hydra.run.dir=text")
    assert refused.startswith(f"checkpoint=out: {name}, a classifier, which writes no text")
