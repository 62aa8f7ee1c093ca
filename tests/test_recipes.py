"""Every recipe of conf/experiment: its jobs exist at its own size, and train as models of eight small blocks."""

import csv
import re
from pathlib import Path

import pytest
from command_line import CommandLine

from smallgpt.launch.config_files import CONF

NO_MODELS = {"downsample_operator": 8, "head_rank": 1}  # kernels of what is no convolution; a narrow head that is tied
RECIPES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
SMALL = [
    # as deep as the recipes reach, as wide as lets the stream be halved often
    *("size=nano", "model.n_layer=8", "model.block_size=32"),
    *("batch.tokens=256", "budget.tokens=512", "validation.tokens=1000", "generation.max_new_tokens=4"),
    *("data=files", "data.path=text.txt", "tokenizer.vocab_size=300", "trainer.threads=1"),
    # in this process, where PyTorch is imported once
    *("seed=1", "hydra.sweep.dir=sweep", "hydra/launcher=basic"),
]


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if recipe != "matched_latency"])
def test_only_what_makes_no_model_is_left_out(cli: CommandLine, recipe: str):
    done = cli("-m", "task=inspect", f"experiment={recipe}", "seed=1", "hydra.sweep.dir=sweep", "hydra/launcher=basic")
    assert done.code == 0, done.err
    left_out = sum(int(number) for number in re.findall(r"^left out, (\d+) of ", done.err, re.M))
    assert left_out == NO_MODELS.get(recipe, 0), done.err


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_job_of_a_recipe_trains(cli: CommandLine, recipe: str):
    Path("text.txt").write_text("\n\n".join(f"Sentence {i} of a text with {i % 7} words." for i in range(2000)))
    done = cli("-m", f"experiment={recipe}", *SMALL)
    assert done.code == 0, done.err
    with open("sweep/results.csv") as file:
        rows = list(csv.DictReader(file))
    print(f"{recipe}: {len(rows)} jobs", *[line for line in done.err.splitlines() if "left out" in line], sep="\n")
    assert len(rows) > 1
    assert {(row["status"], row["train/steps"], row["seed"]) for row in rows} == {("completed", "2", "1")}
    assert Path("sweep/report.html").exists()
