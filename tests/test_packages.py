"""Members that a package does not promise to keep: one line where the installed release has them no more."""

import re
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from test_project_files import PROJECT

from smallgpt.errors import UserError
from smallgpt.inference.weight_formats import PRIVATE, check_quantize
from smallgpt.packages import private

PACKAGE = Path(__file__).parents[1] / "smallgpt"
CPU = torch.device("cpu")


def test_a_quantization_whose_product_torch_no_longer_has_is_refused(monkeypatch: pytest.MonkeyPatch):
    for kind in PRIVATE:
        check_quantize(kind, CPU)
    monkeypatch.delattr(torch, "_weight_int8pack_mm")
    message = rf"^torch {re.escape(version('torch'))}: .* no attribute '_weight_int8pack_mm', which smallgpt needs; .+$"
    with pytest.raises(UserError, match=message):
        check_quantize("int8_weight", CPU)
    check_quantize("bf16", CPU)


def test_a_missing_module_or_name_is_one_line_with_a_release_that_has_it():
    with (
        pytest.raises(UserError, match=r"^lm-eval \S+: No module .* 'lm_eval._none', which smallgpt"),
        private("lm-eval"),
    ):
        import_module("lm_eval._none")
    with pytest.raises(UserError) as error, private("lightning"):
        from lightning.pytorch.strategies.launchers import _None  # noqa: F401
    bounds = r"(`pip install 'lightning\S+'`|pyproject.toml says which releases have it)"
    name = r"cannot import name '_None' from 'lightning\.pytorch\.strategies\.launchers'"
    assert re.fullmatch(rf"lightning {version('lightning')}: {name}, which smallgpt needs; {bounds}", str(error.value))


def test_packages_with_private_members_in_use_are_bounded_from_above():
    used = {name for path in PACKAGE.rglob("*.py") for name in re.findall(r'private\("([\w-]+)"\)', path.read_text())}
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    bounded = {re.match(r"[\w-]+", text)[0] for group in groups for text in group if "<" in text}
    assert {"torch", "lightning", "lm-eval"} <= used
    assert used <= bounded
