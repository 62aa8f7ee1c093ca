"""A run goes on only with the data and the code of the model that its state belongs to."""

import shutil
from pathlib import Path

import pytest
import torch

from smallgpt.contract import required
from smallgpt.errors import UserError
from smallgpt.machine import device
from smallgpt.models.convgpt import ConvGPT
from smallgpt.models.gpt import GPT
from smallgpt.tasks import train
from smallgpt.training.identity import refuse_other_identity, run_identity, training_precision
from smallgpt.training.metrics import Recorder

RUN = ["budget.tokens=4096", "validation.every=2", "resume=auto"]


class Killed(BaseException):
    """Nobody catches it, as nobody catches kill -9."""


def test_the_code_of_a_model_is_its_own_and_what_it_uses():
    code = required.model_code(GPT)
    assert {"smallgpt.models.gpt", "smallgpt.models.layers", "smallgpt.models.decoder"} <= code.keys()
    assert not [name for name in code if not name.startswith("smallgpt.models.")]
    assert "smallgpt.models.convgpt" not in code and "smallgpt.models.convgpt" in required.model_code(ConvGPT)


def test_a_state_of_other_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    state, identity = tmp_path / "last.ckpt", run_identity("0123456789abcdef", GPT, "fp32")
    torch.save({"identity": identity}, state)
    refuse_other_identity(state, run_identity("0123456789abcdef", GPT, "fp32"))
    real = required.hash_of
    monkeypatch.setattr(required, "hash_of", lambda path: real(path) + "x" * (path.name == "layers.py"))
    with pytest.raises(UserError, match=r"other code of the model: smallgpt\.models\.layers has"):
        refuse_other_identity(state, run_identity("0123456789abcdef", GPT, "fp32"))


def test_a_run_that_goes_on_keeps_the_precision_it_began_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    state, where = tmp_path / "last.ckpt", torch.device("cpu")
    for native, other in (("fp32", "bf16"), ("bf16", "fp32")):
        monkeypatch.setattr(device, "native_precision", lambda _, native=native: native)
        assert training_precision("auto", where, None) == native
        torch.save({"identity": run_identity("0123456789abcdef", GPT, other)}, state)
        assert training_precision("auto", where, state) == other and training_precision(native, where, state) == native
    torch.save({"identity": None}, state)
    assert training_precision("auto", where, state) == "bf16"
    state.write_bytes(state.read_bytes()[:200])
    with pytest.raises(UserError, match="cannot be gone on from"):
        training_precision("auto", where, state)


def test_a_corpus_that_changed_since_the_run_was_cut_off(run_task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text, run_dir = tmp_path / "text", tmp_path / "run"
    text.mkdir()
    for number in range(40):
        (text / f"{number}.txt").write_text(f"document {number} of forty, " * 20)
    options = [*RUN, f"data.path={text}"]
    end = Recorder.on_train_batch_end

    def stop(self, trainer, module, *rest):
        end(self, trainer, module, *rest)
        if trainer.global_step == 3:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Recorder, "on_train_batch_end", stop)
        run_task(train.run, run_dir, *options)
    shutil.copytree(text, tmp_path / "kept")
    (text / "7.txt").write_text("other text " * 20)
    with pytest.raises(UserError, match=r"was trained on other data: its fingerprint was [0-9a-f]{16} and is now"):
        run_task(train.run, run_dir, *options)
    shutil.copy(tmp_path / "kept" / "7.txt", text)
    assert run_task(train.run, run_dir, *options)["train"]["tokens"] == 4096
