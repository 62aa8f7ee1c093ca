"""A model that breaks the contract is refused by every task that would use it; one that keeps it is checked once."""

import importlib
from pathlib import Path

import cheats
import pytest
from helpers import SMALL, Case, build_config, model_class
from small_checkpoints import tokenizer

from smallgpt.contract import required
from smallgpt.contract.required import described, require_contract
from smallgpt.errors import UserError

AHEAD = "position 1 sees position 2; a position may see itself and what stands before it"


@pytest.fixture
def forgetful(monkeypatch):
    """This process has checked nothing yet."""
    monkeypatch.setattr(required, "known", set())


def test_a_model_is_checked_once_for_its_code_and_config(tmp_path, forgetful, monkeypatch):
    backbone = type("Backbone", (cheats.GPTBackbone,), {})
    model = cheats.variant(backbone_class=backbone)
    config, other = (cheats.CheatConfig(**SMALL | {"n_layer": n}) for n in (2, 3))
    require_contract(model, config, tmp_path, "model=new")
    backbone.forward = cheats.over_blocks(cheats.dropout)  # its file stays as it is
    require_contract(model, config, tmp_path, "model=new")
    with pytest.raises(UserError, match=r"^model=new: the logits of position \d+ change .* read again"):
        require_contract(model, other, tmp_path, "model=new")
    (record,) = (tmp_path / "contract").iterdir()
    monkeypatch.setattr(required, "known", set())
    require_contract(model, config, tmp_path, "model=new")  # another process finds it there
    for damage in (record.read_text()[:-5], ""):
        monkeypatch.setattr(required, "known", set())
        record.write_text(damage)
        with pytest.raises(UserError, match="read again"):
            require_contract(model, config, tmp_path, "model=new")


def test_other_code_is_checked_again(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "fresh"
    package.mkdir()
    for name in ("__init__", "parts"):
        (package / f"{name}.py").write_text("")
    (package / "variant.py").write_text("from fresh import parts\n" + Path(cheats.__file__).read_text())
    importlib.invalidate_caches()
    model = importlib.import_module("fresh.variant").Ahead
    before = described(model, config := model.config_class(**SMALL))
    assert described(model, config) == before and "layers.py" in before and "cheats.py" not in before
    (package / "parts.py").write_text("# a change of what the variant imports\n")
    assert described(model, config) != before


def test_a_cache_that_cannot_be_written_costs_a_check_and_no_more(tmp_path, forgetful):
    (tmp_path / "file").write_text("")
    require_contract(model_class("gpt"), build_config(Case("gpt")), tmp_path / "file", "model=gpt")


@pytest.mark.parametrize("words", [["task=inspect"], ["task=train"], ["task=benchmark"], ["-m", "seed=1,2"]], ids=str)
def test_a_variant_that_looks_ahead_is_refused_before_any_work(cli, words):
    assert cli.refused("model=gpt", "model._target_=cheats.Ahead", "size=debug", *words) == f"model=gpt: {AHEAD}"


@pytest.mark.parametrize("task", ["evaluate", "export", "generate", "benchmark"])
def test_so_is_its_checkpoint(cli, task):
    cheats.Ahead(cheats.CheatConfig(**SMALL)).save_pretrained("broken")
    tokenizer().save_pretrained("broken")
    words = []
    if task == "evaluate":
        pytest.importorskip("lm_eval")
        words = ["eval=quick"]
    message = cli.refused(f"task={task}", "checkpoint=broken", *words)
    assert message == f"checkpoint=broken: a cheat model: {AHEAD}"
