import json
from pathlib import Path

import lightning as L
import pytest
import torch
from transformers import AutoModelForCausalLM

from smallgpt.files import whole_folder


def loss_of(folder: Path, run) -> float:
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    nats, targets = 0.0, 0
    with torch.no_grad():
        for batch in run.data.validation_batches():
            nats += model.next_token_loss(batch["input_ids"], batch["targets"], reduction="sum").item()
            targets += int((batch["targets"] != -100).sum())
    return nats / targets


def test_best_has_the_lowest_loss_and_last_the_latest(fit):
    run = fit(steps=40, every=4, distinct=1)  # one batch learnt by heart: the others get worse
    losses = [row["val/loss"] for row in run.rows("val/loss")]
    assert min(losses) < losses[-1]
    checkpoints = run.directory / "checkpoints"
    assert loss_of(checkpoints / "best", run) == pytest.approx(min(losses), rel=1e-6)
    assert loss_of(checkpoints / "last", run) == pytest.approx(losses[-1], rel=1e-6)


def test_nothing_unfinished_is_left(fit):
    run = fit(steps=4, every=1)
    names = sorted(path.name for path in (run.directory / "checkpoints").iterdir())
    assert names == ["best", "last", "last.ckpt"]
    files = {path.name for path in (run.directory / "checkpoints" / "best").iterdir()}
    assert files >= {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "weights.json"}


def test_a_checkpoint_brings_the_code_that_reads_it_elsewhere(fit):
    run = fit(steps=2, every=1)
    for name in ("best", "last"):
        folder = run.directory / "checkpoints" / name
        classes = json.loads((folder / "config.json").read_text())["auto_map"]
        assert classes == {
            "AutoConfig": "gpt.GPTConfig",
            "AutoModel": "gpt.GPTModel",
            "AutoModelForCausalLM": "gpt.GPT",
            "AutoModelForSequenceClassification": "gpt.GPTForSequenceClassification",
        }
        assert {"gpt.py", "decoder.py", "base_model.py", "context.py"} <= {path.name for path in folder.glob("*.py")}


def test_training_state_needs_no_trust(fit):
    run = fit(steps=4, every=2)
    state = torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 4
    assert len(state["metrics"]) == len(run.rows("step"))
    assert state["seconds"] > 0
    (random_state,) = state["random_states"]  # one a rank
    assert set(random_state) == {"python", "numpy", "torch", "cuda"}


def test_a_failed_save_leaves_the_old_folder_whole(tmp_path):
    folder = tmp_path / "best"

    def save(content: str, fails: bool = False) -> None:
        with whole_folder(folder) as partial:
            (partial / "model.safetensors").write_text(content)
            if fails:
                raise OSError("disk full")
            (partial / "config.json").write_text("{}")

    save("old")
    (folder / "left over").touch()
    with pytest.raises(OSError, match="disk full"):
        save("new", fails=True)
    assert (folder / "model.safetensors").read_text() == "old"
    save("newer")
    assert (folder / "model.safetensors").read_text() == "newer"
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_a_failed_training_state_leaves_the_old_one_whole(fit, monkeypatch, tmp_path):
    honest = L.Trainer.save_checkpoint

    def failing(self, path, **options):
        if self.global_step < 4:
            return honest(self, path, **options)
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(L.Trainer, "save_checkpoint", failing)
    with pytest.raises(OSError, match="disk full"):
        fit(steps=4, every=2)
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 2
