"""The tasks `train` and `generate` as run.py calls them, on a small text of our own."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from smallgpt.data.prepared_data import open_prepared
from smallgpt.errors import UserError
from smallgpt.tasks import generate, train


@pytest.fixture(scope="module")
def trained(run_task, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    run_dir = tmp_path_factory.mktemp("trained")
    return run_dir, run_task(train.run, run_dir, "budget.tokens=20000", "optimizer.lr=1e-2")


def test_train_returns_the_sections_of_a_result(trained):
    _, result = trained
    json.dumps(result, allow_nan=False)
    assert result["train"]["steps"] == math.ceil(20000 / 512)
    assert result["train"]["tokens"] == 512 * result["train"]["steps"]
    assert result["val"]["loss"] < 4.0 < math.log(300)
    assert result["val"]["perplexity"] == pytest.approx(math.exp(result["val"]["loss"]))
    assert 0 < result["val"]["bits_per_byte"] < 8
    assert result["cost"]["parameters"] > 0
    assert len(result["samples"]) == 1


def test_a_run_leaves_what_it_should(trained):
    run_dir, _ = trained
    assert {path.name for path in run_dir.iterdir()} == {"metrics.csv", "checkpoints"}


def test_checkpoints_are_ordinary_model_folders(trained):
    run_dir, _ = trained
    for name in ("best", "last"):
        folder = run_dir / "checkpoints" / name
        model = AutoModelForCausalLM.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert model.generation_config.eos_token_id == tokenizer.eos_token_id
        assert tokenizer.decode(tokenizer("line 1")["input_ids"]) == "line 1"


def test_the_same_seed_trains_the_same_model(run_task, trained, tmp_path):
    again = run_task(train.run, tmp_path, "budget.tokens=20000", "optimizer.lr=1e-2")
    assert again["val"] == trained[1]["val"]
    assert again["samples"] == trained[1]["samples"]


def test_an_epoch_is_one_pass_over_the_text(run_task, tmp_path, tmp_path_factory):
    result = run_task(train.run, tmp_path, "budget.epochs=0.5")
    prepared = f"prepared/*{result['data_fingerprint']}/index.json"
    index, *_ = tmp_path_factory.getbasetemp().rglob(prepared)  # other tests may have prepared the same text
    windows = (open_prepared(index.parent).train_tokens - 1) // 32
    assert result["train"]["steps"] == math.ceil(0.5 * windows * 32 / 512)


@pytest.mark.slow
def test_one_batch_is_learnt_by_heart(run_task, tmp_path):
    options = ("trainer.overfit=true", "schedule=constant", "optimizer.lr=3e-2", "model.n_embd=64")
    result = run_task(
        train.run,
        tmp_path,
        *options,
        "batch.micro=4",
        "budget.tokens=150000",
        "validation.every=999",
    )
    assert result["train"]["loss"] < 0.15
    assert result["val"]["loss"] > result["train"]["loss"]


def test_profile_and_tensorboard_leave_their_files(run_task, tmp_path, capsys):
    run_task(train.run, tmp_path, "trainer.profile=true", "logger=tensorboard", "budget.tokens=4096")
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert any((tmp_path / "tensorboard").glob("events*"))
    assert "Self CPU" in capsys.readouterr().out


def test_generation_is_reproducible_and_differs_by_seed(run_task, trained, tmp_path):
    def text(*overrides: str) -> str:
        named = (f"checkpoint={trained[0]}", "generation.temperature=1.5", "prompt=line")
        [sample] = run_task(generate.run, tmp_path, *named, *overrides)["samples"]
        assert sample.startswith("line")
        return sample

    assert text() == text()
    assert text() != text("seed=2")
    assert text("generation.temperature=0") == text("generation.temperature=0", "seed=2")
    assert text("generation.temperature=0", "generation.num_beams=2")
    greedy = text("generation.temperature=0")
    assert text("generation.top_k=1") == greedy == text("generation.top_p=1e-6")


def test_generation_starts_without_a_prompt_and_stops_at_the_context(run_task, trained, tmp_path):
    folder = trained[0] / "checkpoints" / "last"
    result = run_task(generate.run, tmp_path, f"checkpoint={folder}", "generation.max_new_tokens=500")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # 32 tokens at most, of which each may be a byte that is no text and is shown as a sign of three bytes
    assert 0 < len(tokenizer(result["samples"][0])["input_ids"]) <= 3 * 32


def damaged(trained: tuple[Path, Any], target: Path, damage: Callable[[Path], Any]) -> Path:
    shutil.copytree(trained[0] / "checkpoints" / "best", target)
    damage(target)
    return target


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def empty(folder: Path) -> None:
    (folder / "config.json").unlink()


@pytest.mark.parametrize("damage", [truncate, pickle_only, empty])
def test_a_damaged_checkpoint_is_refused_on_one_line(run_task, trained, tmp_path, damage):
    folder = damaged(trained, tmp_path / "model", damage)
    refused(run_task, tmp_path, f"checkpoint={folder}", match=rf"^checkpoint={folder}: ")


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        ([], "^checkpoint=null: "),
        (["checkpoint=/nowhere/at/all"], "no such folder"),
        (["checkpoint={run}/metrics.csv"], "a file; name the run directory"),
        (
            ["checkpoint={run}", "model=convgpt", "model.downsample_position=1"],
            "a smallgpt-gpt model, but model= asks for",
        ),
        (["checkpoint={run}", f"prompt={'word_' * 40}"], r"^prompt: \d+ tokens; .* at most 31"),
        (["checkpoint={run}", "generation.temperature=-1"], "^generation.temperature=-1: "),
        (["checkpoint={run}", "trainer=gpu"], "^trainer.accelerator=gpu: "),
    ],
)
def test_refusals_are_one_line(run_task, trained, tmp_path, overrides, match):
    filled = [text.replace("{run}", str(trained[0])) for text in overrides]
    refused(run_task, tmp_path, *filled, match=match)


def refused(run_task, run_dir: Path, *overrides: str, match: str) -> None:
    with pytest.raises(UserError, match=match) as error:
        run_task(generate.run, run_dir, *overrides)
    assert "\n" not in str(error.value)
