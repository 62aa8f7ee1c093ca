"""Going on from what was trained: a new run from a checkpoint's weights, and a finished run to a larger budget."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from command_line import CommandLine
from omegaconf import OmegaConf
from safetensors.torch import load_file

from smallgpt.errors import UserError
from smallgpt.models.gpt import GPT
from smallgpt.run_directory import refuse_other_config

TEXT = "\n\n".join(f"Line {i * i % 977} of a text, and {i} more." for i in range(1500))
SMALL = ("size=debug", "model.n_layer=1", "model.block_size=32", "batch.tokens=256", "tokenizer.vocab_size=300")
DATA = ("data=files", "data.path=text.txt", "data.holdout=0.1", "validation.final_tokens=256", "validation.tokens=256")
OTHERS = ("generation.max_new_tokens=2", "budget.tokens=1024")


@pytest.fixture
def run(cli: CommandLine) -> CommandLine:
    """A folder with a small run of four steps in `first`."""
    Path("text.txt").write_text(TEXT)
    done = cli(*SMALL, *DATA, *OTHERS, "schedule=constant", "schedule.warmup=2", "hydra.run.dir=first")
    assert done.code == 0, done.err
    return cli


def weights(run_dir: str) -> dict[str, torch.Tensor]:
    return load_file(Path(run_dir, "checkpoints", "last", "model.safetensors"))


def test_a_training_begins_from_the_weights_of_a_checkpoint(run: CommandLine, monkeypatch: pytest.MonkeyPatch):
    begun = []
    monkeypatch.setattr(GPT, "load_state_dict", lambda self, state: begun.append(state))
    done = run(*DATA, *OTHERS, "checkpoint=first", "model.dropout=0.1", "hydra.run.dir=second")
    assert done.code == 0, done.err
    best = load_file("first/checkpoints/best/model.safetensors")
    assert begun and all(torch.equal(best[name], value) for name, value in begun[0].items() if name in best)
    result = json.loads(Path("second/result.json").read_text())
    origin = {"checkpoint": str(Path("first").resolve()), "weights": "best, step 4", "variant": "gpt"}
    assert result["origin"] == origin and not {"size", "model", "tokenizer"} & set(result["choices"])
    config = OmegaConf.load("second/config.yaml")
    assert (config.model.n_layer, config.model.dropout, config.batch.tokens) == (1, 0.1, 256)
    assert Path("first/checkpoints/last/tokenizer.json").read_text() == (
        Path("second/checkpoints/last/tokenizer.json").read_text()
    )


def test_what_differs_from_the_checkpoint_is_refused(run: CommandLine):
    for words, part in (
        (["checkpoint=nowhere"], "checkpoint=nowhere"),
        (["checkpoint=[first,second]"], "a training begins from the weights of one"),
        (["model=parallelgpt", "model.n_path=1"], "model.n_path=1: needs at least 2 paths"),
        (["model=taper", "model.kernel_size=2"], "model.kernel_size"),
        (["model.n_layer=3"], "model.n_layer=3: a training begins from weights of as many or more, and these have 1"),
        (["size=paper"], "and these have "),
        (["block=gpt2"], "the weights are those of "),
        (["model.n_head=1"], "model.n_head=1: makes heads 64 wide, and the weights have some of 32; checkpoint=first"),
        (["model.vocab_size=512"], "model.vocab_size=512: the weights are those of vocab_size="),
        (["tokenizer=gpt2"], "tokenizer=gpt2: checkpoint=first has its own tokenizer"),
        (["match=params"], "match=params: checkpoint=first has its own tokenizer and size"),
    ):
        given = [] if words[0].startswith("checkpoint=") else ["checkpoint=first"]
        assert part in run.refused(*DATA, *given, *words)
    for words, part in (
        (["first_weights=random"], "first_weights=random: without checkpoint= all weights begin as random numbers"),
        (["distill.temperature=3"], "distill.temperature=3: without distill.from= there is no teacher"),
        (["distill.from=./nowhere"], "distill.from=./nowhere: no such folder"),
        (["distill.from=first"], "distill.from=first: has logits of 320 tokens, and the model has 4096"),
        (["distill.from=first", "checkpoint=first", "distill.weight=2"], "distill.weight=2: must be at most 1"),
        (["distill.from=first", "checkpoint=first", "compile=true"], "compile=true: cannot be used with a teacher"),
    ):
        assert part in run.refused(*DATA, *words)
    card = run("task=inspect", *DATA, "checkpoint=first")
    assert card.code == 0 and card.result["cost"]["schedule"].startswith("1@64 ")
    card = run("task=inspect", *DATA, "checkpoint=first", "budget.tokens=512", "budget_with_origin=true")
    assert card.code == 0 and card.result["cost"]["tokens"] == 512 + 1024


@pytest.mark.slow
def test_a_recipe_shrinks_a_trained_model(run: CommandLine):
    words = ("checkpoint=first", "model=gpt", "model.n_embd=32", "model.n_head=1", "seed=1", "budget.flops=2e8")
    done = run("-m", "experiment=shrink", *DATA, *words, "hydra/launcher=basic", "hydra.sweep.dir=sweep")
    assert done.code == 0, done.err
    random, warm, taught = (json.loads(Path("sweep", job, "result.json").read_text()) for job in "012")
    assert random["origin"]["weights"] == "random" and "narrowing" not in random["origin"]
    assert warm["origin"]["narrowing"]["layers"] == [0] and "weights made narrower: blocks from 1" in done.out
    assert warm["origin"]["narrowing"] == taught["origin"]["narrowing"]
    assert taught["distillation"]["teacher"] == str(Path("first").resolve()) and "distillation" not in warm
    assert taught["train"]["tokens"] < warm["train"]["tokens"] == random["train"]["tokens"]
    assert "first_weights=checkpoint" in Path("sweep/results.md").read_text()


@pytest.mark.slow
def test_a_recipe_continues_on_other_text(run: CommandLine):
    Path("text.txt").write_text(TEXT.replace("Line", "Verse"))
    words = ("checkpoint=first", "seed=1", "budget.tokens=512", "validation.every=9")
    done = run("-m", "experiment=transfer", *DATA, *words, "hydra/launcher=basic", "hydra.sweep.dir=sweep")
    assert done.code == 0, done.err
    results = [json.loads(Path("sweep", job, "result.json").read_text()) for job in "012"]
    assert [each["train"]["tokens"] for each in results] == [512, 512, 512 + 1024]
    assert len({each["data_fingerprint"] for each in results}) == 1
    assert len({each["cost"]["parameters"] for each in results}) == 1


def test_a_finished_run_goes_on_to_a_larger_budget(run: CommandLine):
    words = [*SMALL, *DATA, "schedule=constant", "schedule.warmup=2", "generation.max_new_tokens=2"]
    whole = run(*words, "budget.tokens=2048", "hydra.run.dir=whole")
    longer = [*words, "budget.tokens=2048", "hydra.run.dir=first"]
    assert "resume=extend with a larger budget" in run.refused(*longer)
    for extra, part in (
        (["budget.tokens=1024"], "budget.tokens=1024: resume=extend goes on to a larger budget"),
        (["budget.tokens=null", "budget.epochs=9"], "budget.epochs=9.0: resume=extend goes on to a larger budget"),
        (["schedule=cosine"], "schedule=cosine came down to its end with the budget; a run with schedule=constant or"),
        (["model.n_layer=2"], "was begun with model.n_layer=1, not 2"),
        (["-m", "seed=1337,2"], "resume=extend: goes on with one run"),
    ):
        assert part in run.refused(*longer, "resume=extend", *extra)
    done = run(*longer, "resume=extend", "validation.every=3")
    assert done.code == 0, done.err
    assert done.result["train"]["steps"] == 8 == whole.result["train"]["steps"]
    assert all(torch.equal(value, weights("whole")[name]) for name, value in weights("first").items())


def test_validations_may_come_at_another_rate_where_a_run_goes_on(tmp_path: Path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    (tmp_path / "config.yaml").write_text("validation:\n  every: null\nseed: 1\n")
    settings: Any = SimpleNamespace(plain={"validation": {"every": 5}, "seed": 1}, resume="auto", model=None)
    refuse_other_config(tmp_path, settings)
    settings.plain["seed"] = 2
    with pytest.raises(UserError, match="was begun with seed=1, not 2"):
        refuse_other_config(tmp_path, settings)
    settings.plain["seed"] = 1
    (tmp_path / "result.json").write_text('{"status": "completed"}')  # a sweep would skip it as if it were the same
    with pytest.raises(UserError, match=r"was begun with validation.every=None, not 5"):
        refuse_other_config(tmp_path, settings)
