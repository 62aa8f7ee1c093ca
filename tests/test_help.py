"""What `--help` says: the overview on one page, and what each group, choice and key is."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from command_line import CommandLine
from pydantic import Field

from smallgpt.launch.config_files import CONF, group_files
from smallgpt.launch.documented import settings_of, settings_of_model, takes
from smallgpt.launch.help import groups, summary, top_level
from smallgpt.models.canon import CanonConfig
from smallgpt.settings import Benchmark

FOLDERS = sorted(str(path.relative_to(CONF)) for path in CONF.rglob("*") if path.is_dir() and any(path.glob("*.yaml")))


def test_the_overview_names_everything_on_a_page(cli: CommandLine):
    done = cli("--help")
    lines = done.out.splitlines()
    assert done.code == 0 and done.err == "" and len(lines) < 100 and max(map(len, lines)) <= 120
    assert sorted(groups()) == FOLDERS
    for group in FOLDERS:
        [line] = [line for line in lines if line.startswith(f"  {group} ")]
        assert ": " in line, group  # what it is
        assert all(choice in done.out for choice in group_files(group, None))
    for key in top_level():
        assert any(line.startswith((f"  {key.key}=", f"  {key.key}.")) for line in lines), key.key
        assert key.comment or key.key == "cache_dir", key.key
    assert cli.tree() == set()


@pytest.mark.parametrize("group", FOLDERS)
def test_each_choice_says_what_it_is(group: str):
    for choice, file in group_files(group, None).items():
        assert len(summary(file).split()) >= 3, f"{group}={choice}: its file has no comment at its top"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["model"], ["convgpt   ", "A causal convolution over four tokens", "used by task=train"]),
        (
            ["model=canon"],
            [
                "A short causal convolution before attention",
                "model.conv_kernel=4\n      A whole number. Number of tokens that a convolution reads",
                "model.norm=rmsnorm\n      One of layernorm, rmsnorm.",
                "model.conv_blocks=null\n      A whole number, or null.",
            ],
        ),
        (["model=canon,taper"], ["model=canon\n", "model=taper\n", "model.mlp_taper=0.5\n"]),
        (["optimizer=adamw"], ["optimizer.lr=0.001\n      A number over 0. Largest learning rate", "optimizer.eps="]),
        (["size=nano"], ["4 blocks of width 128", "n_embd: 128"]),
        (["experiment=paths"], ["Two and four paths", "model.n_path: 2,4", "used by task=train"]),
        (["task=watch"], ["shows a running sweep", "uses sweep"]),
        (["match=params"], ["match.tolerance=0.03\n      A number over 0. Largest relative difference"]),
        (["experiment=poc", "poc.epochs"], ["poc.epochs="]),
        (["hydra/launcher"], ["processes ", "slurm ", "A Slurm job for each job of a sweep"]),
        (["hydra/launcher=ray"], ["hydra.launcher.address=null  address of the cluster, or auto"]),
        (["batch"], ["batch.micro=null\n      A whole number over 0, or null. Micro-batch"]),
        (["optimizer.lr=3e-3"], ["optimizer.lr=0.004\n      A number over 0.", "used by task=train"]),
        (
            ["seed", "log_every"],
            ["seed=1337\n", "log_every=10\n      A whole number over 0. Number of optimizer steps"],
        ),
        (["hydra.sweeper.arms"], ["hydra.sweeper.arms=null"]),
        (["optimizer=adamw", "optimizer.lr"], ["  optimizer.lr=0.001\n"]),
    ],
)
def test_a_word_beside_it_is_explained(cli: CommandLine, words: list[str], parts: list[str]):
    done = cli(*words, "--help")
    assert done.code == 0 and done.err == ""
    for part in parts:
        assert part in done.out, part
    assert cli.tree() == set()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("modle", "modle: no group and no key of that name; did you mean 'model'?"),
        ("model=cannon", "model=cannon: no such choice; there is bowtie, "),
        ("model.kernel", "model.kernel: no group and no key of that name"),
        ("optimizer.lrr=1", "optimizer.lrr: no group and no key of that name; did you mean 'optimizer.lr'?"),
        ("hydra.run.dri", "hydra.run.dri: unknown key; did you mean 'hydra.run.dir'?"),
    ],
)
def test_what_there_is_not_is_refused_with_the_nearest(cli: CommandLine, word: str, message: str):
    assert cli.refused(word, "--help").startswith(message)


def test_a_choice_of_ones_own_is_explained_too(cli: CommandLine):
    Path("myconf/model").mkdir(parents=True)
    Path("myconf/model/mine.yaml").write_text(
        "# GPT with another norm.\n_target_: smallgpt.models.gpt.GPT\nnorm: rmsnorm\n"
    )
    assert "mine                  GPT with another norm." in cli("--config-dir=myconf", "model", "--help").out
    assert "model.norm=rmsnorm" in cli("--config-dir=myconf", "model=mine", "--help").out


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "a whole number"),
        (float | None, "a number, or null"),
        (Annotated[int, Field(gt=0)], "a whole number over 0"),
        (Annotated[float, Field(ge=0, lt=1)], "a number at least 0 and under 1"),
        (Literal["a", "b"], "one of a, b"),
        (tuple[str, ...], "one or several of: a text"),
        (tuple[Annotated[int, Field(gt=0)] | None, ...], "one or several of: a whole number over 0, or null"),
        (dict[str, Any], "keys and values"),
        (Path | None, "a path, or null"),
        (Any, "any value"),
    ],
)
def test_a_type_in_words(hint: Any, words: str):
    assert takes(hint) == words


def test_docstrings_of_fields_are_found_with_those_of_the_classes_above():
    model = {setting.key: setting for setting in settings_of_model(CanonConfig)}
    assert model["conv_kernel"].doc.startswith("Number of tokens that a convolution reads")
    assert model["n_embd"].doc == "Width of the embedding and of the first block."
    settings = {setting.key: setting for setting in settings_of(Benchmark)}
    assert settings["new_tokens"] == (
        "new_tokens",
        "a whole number over 1",
        "Number of tokens decoded after the prompt.",
    )
