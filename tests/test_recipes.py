"""Every recipe of conf/experiment: its jobs exist at its own size, and train as models of eight small blocks."""

import csv
import json
from functools import partial
from pathlib import Path

import pytest
from command_line import CommandLine
from omegaconf import OmegaConf

from smallgpt.launch.config_files import CONF

OF_A_RUN = {"learning_curve", "shrink", "transfer", "poc"}  # tests/finetuning, test_going_on.py, test_poc.py
RECIPES = sorted({path.stem for path in (CONF / "experiment").glob("*.yaml")} - OF_A_RUN)
SEARCHES = {"frontier": ("hydra.sweeper.n_trials=7", "hydra.sweeper.prune=false")}  # each arm has its turn
SMALL = [
    # as deep as the recipes reach, as wide as lets the stream be halved often
    *("size=nano", "model.n_layer=8", "model.block_size=32"),
    *("batch.tokens=256", "budget.tokens=512", "validation.tokens=1000", "generation.max_new_tokens=4"),
    *("data=files", "data.path=text.txt", "data.holdout=0.3", "tokenizer.vocab_size=300", "trainer.threads=1"),
    # in this process, where PyTorch is imported once
    *("seed=1", "hydra.sweep.dir=sweep", "hydra/launcher=basic"),
]

IN_FLOPS = {"win": ["budget.flops=null"]}  # else it would have two budgets

THREE_SIZES = [
    f"{{model:{variant},model.n_embd:{width},model.n_head:{width // 16},budget.flops:{flops}}}"
    for variant in ("gpt", "bowtie")
    for width, flops in ((48, 1e9), (80, 4e9), (128, 16e9))
]


@pytest.mark.parametrize(
    "recipe",
    [
        recipe if recipe == "downsample_operator" else pytest.param(recipe, marks=pytest.mark.slow)
        for recipe in RECIPES
        if recipe != "matched_latency" and recipe not in SEARCHES  # which need a loss
    ],
)
def test_every_arm_is_a_model(cli: CommandLine, recipe: str):
    done = cli("-m", "task=inspect", f"experiment={recipe}", "seed=1", "hydra.sweep.dir=sweep", "hydra/launcher=basic")
    assert done.code == 0, done.err
    assert "left out" not in done.err


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if recipe != "scaling"])
def test_every_job_of_a_recipe_trains(cli: CommandLine, recipe: str):
    write_sentences()
    done = cli("-m", f"experiment={recipe}", *SMALL, *IN_FLOPS.get(recipe, ()), *SEARCHES.get(recipe, ()))
    assert done.code == 0, done.err
    with open("sweep/results.csv") as file:
        rows = list(csv.DictReader(file))
    print(f"{recipe}: {len(rows)} jobs", *[line for line in done.err.splitlines() if "left out" in line], sep="\n")
    assert len(rows) > 1
    assert {(row["status"], row["train/steps"], row["seed"]) for row in rows} == {("completed", "2", "1")}
    assert Path("sweep/report.html").exists()


@pytest.mark.slow
def test_three_sizes_end_in_a_curve_for_each_arm(cli: CommandLine):
    write_sentences()
    words = [word for word in SMALL if not word.startswith("budget.")]
    arms = f"hydra.sweeper.arms=[{','.join(THREE_SIZES)}]"
    done = cli("-m", "experiment=scaling", *words, arms, "match.tolerance=0.05", "optimizer.lr=4e-3")
    assert done.code == 0, done.err
    text = Path("sweep/results.md").read_text()
    assert "**Scaling with size**" in text and "\n| bowtie | 3 |" in text and "cannot tell: one seed" in text
    assert Path("sweep/figures/scaling.png").exists()


def write_sentences():
    Path("text.txt").write_text("\n\n".join(f"Sentence {i} of a text with {i % 7} words." for i in range(2000)))


def test_arms_are_pairs_of_values_and_not_their_product(cli: CommandLine):
    Path("myconf/experiment").mkdir(parents=True)
    Path("myconf/experiment/pairs.yaml").write_text(
        """# @package _global_
hydra:
  sweeper:
    arms:
      - {model: gpt}
      - {model: lineargpt, model.downsample_times: null, model.widths: [128, 64, 64, 128], optimizer.lr: 4e-3}
    params: {optimizer.lr: "1e-3,2e-3", seed: "1,2"}  # an arm may have a rate of its own
"""
    )
    words = ("-m", "--config-dir=myconf", "task=inspect", "experiment=pairs", "hydra/launcher=basic")
    done = cli(*words, "hydra.sweep.dir=sweep")
    assert done.code == 0, done.err
    jobs = [OmegaConf.load(Path("sweep", str(number), "config.yaml")) for number in range(6)]
    assert not Path("sweep/6").exists()
    found = [(job.model.get("widths"), job.optimizer.lr, job.seed) for job in jobs]
    assert found == [(None, lr, seed) for lr in (1e-3, 2e-3) for seed in (1, 2)] + [
        ([128, 64, 64, 128], 4e-3, seed) for seed in (1, 2)
    ]
    message = cli.refused(*words, "hydra.sweep.dir=other", "model=canon")
    assert message == "model=canon: the arms of this sweep choose model; hydra.sweeper.arms=null leaves them out"
    message = cli.refused(*words, "hydra.sweep.dir=other", "optimizer.lr=1e-3,2e-3")
    assert message.startswith("optimizer.lr=1e-3,2e-3: the arms of this sweep choose optimizer.lr")
    assert cli.refused(*words, "study=Which, and why?") == (
        "study=Which, and why?: a sweep has one study; quote a text with a comma twice, as in 'study=\"a, b\"'"
    )
    assert cli.refused(*words[1:4]) == "experiment=pairs: a sweep over 2 arms, optimizer.lr, seed; add -m"
    assert not Path("other").exists()


@pytest.mark.slow
def test_arms_take_their_best_values_from_an_earlier_sweep(cli: CommandLine):
    losses = {("canon model.conv_blocks=1", "0.002"): 3.8}  # an arm that the second sweep has no more
    losses |= {("gpt", "0.001"): 4.1, ("gpt", "0.002"): 4.0, ("canon", "0.001"): 3.9, ("canon", "0.002"): 4.2}
    for number, ((arm, rate), loss) in enumerate(losses.items()):
        run_dir = Path("first", str(number))
        run_dir.mkdir(parents=True)
        words = [*f"model={arm}".split(), f"optimizer.lr={rate}", "seed=1"]
        result = {"status": "completed", "seed": 1, "val": {"loss": loss}, "overrides": words}
        (run_dir / "result.json").write_text(json.dumps(result))
        (run_dir / "config.yaml").write_text(f"optimizer: {{lr: {rate}}}\nseed: 1\n")
    arms = "hydra.sweeper.arms=[{model:gpt},{model:canon}]"
    words = ("-m", "task=inspect", "tune=optimizer.lr", arms, "hydra/launcher=basic", "hydra.sweep.dir=sweep")
    done = cli(*words, "hydra.sweeper.tuned=first", "seed=2,3")
    assert done.code == 0, done.err
    jobs = [OmegaConf.load(Path("sweep", str(number), "config.yaml")) for number in range(4)]
    assert [(job.optimizer.lr, job.seed) for job in jobs] == [(2e-3, 2), (2e-3, 3), (1e-3, 2), (1e-3, 3)]
    refused = partial(cli.refused, *words[:-1], "hydra.sweep.dir=other")
    assert refused("hydra.sweeper.tuned=frist").startswith("hydra.sweeper.tuned=frist: no such directory")
    assert "chooses optimizer.lr" in refused("hydra.sweeper.tuned=first", "optimizer.lr=1e-3")
    other = [word.replace("canon", "taper") for word in words[:-1]]
    message = cli.refused(*other, "hydra.sweep.dir=other", "hydra.sweeper.tuned=first")
    assert message == "hydra.sweeper.tuned=first: no completed job of the arm model=taper"


@pytest.mark.slow
def test_what_beats_gpt_is_matched_to_the_gpt_that_is_its_arm(cli: CommandLine):
    words = ("optimizer.lr=1e-3", "hydra.sweeper.arms=[{model:gpt},{model:bowtie}]", "hydra.sweep.dir=sweep")
    done = cli("-m", "task=inspect", "experiment=win", *words, "hydra/launcher=basic")
    assert done.code == 0, done.err
    gpt, bowtie = (json.loads(Path("sweep", job, "result.json").read_text())["match"] for job in "01")
    assert (gpt["n_embd"], gpt["n_layer"], gpt["difference"]) == (128, 8, 0)
    assert bowtie["target"] == gpt["value"] and abs(bowtie["difference"]) <= 0.01
    words = ("optimizer.lr=1e-3", "hydra.sweeper.arms=[{model:gpt}]", "model.n_layer=4,8", "hydra.sweep.dir=depths")
    assert cli("-m", "task=inspect", "experiment=win", *words, "hydra/launcher=basic").code == 0
    four, eight = (json.loads(Path("depths", job, "result.json").read_text())["match"] for job in "01")
    assert four["target"] == eight["value"] and abs(four["difference"]) <= 0.01
    assert four["n_layer"] == 4 and four["n_embd"] > eight["n_embd"]
