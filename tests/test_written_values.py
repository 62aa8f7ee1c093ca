"""Words as `wandb agent` writes them, in Hydra's grammar."""

import pytest
from command_line import CommandLine
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from smallgpt.launch import resolvers
from smallgpt.launch.arms import words_of
from smallgpt.launch.config_files import CONF
from smallgpt.launch.loading import load_settings
from smallgpt.launch.resolvers import candidate_arms
from smallgpt.launch.written_values import as_values


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("--optimizer.lr=0.001", ["optimizer.lr=0.001"]),
        ("--trainer.clip=None", ["trainer.clip=null"]),
        ("--experiment=paths", ["experiment=paths"]),  # a beginning of Hydra's --experimental-rerun
        ("--config-name=config", ["--config-name=config"]),
        ("-m", ["-m"]),
        ("optimizer={'lr': 0.001, 'betas': [0.9, 0.95]}", ["optimizer.lr=0.001", "optimizer.betas=[0.9,0.95]"]),
        ('--optimizer={"lr": 0.001}', ["optimizer.lr=0.001"]),
        (
            'model={"n_layer": 2, "widths": null, "bias": true}',
            ["model.n_layer=2", "model.widths=null", "model.bias=true"],
        ),
        ("match.baseline={'n_layer': 6}", ["match.baseline={n_layer:6}"]),
        ("match.baseline={n_layer:6}", ["match.baseline={n_layer:6}"]),
        ("hydra={'run': {'dir': 'a b'}}", ["hydra.run.dir='a b'"]),
        ("prompt={'", ["prompt={'"]),
        ("question=On a laptop, or not?", ["question='On a laptop, or not?'"]),  # one question and no sweep over two
        ("poc.question=What's best?", ["poc.question='What\\'s best?'"]),
        ("question='a, b'", ["question='a, b'"]),
        ("question=null", ["question=null"]),
        (r"poc.template={text}\nLabel: {label}", [r"poc.template='{text}\nLabel: {label}'"]),
    ],
)
def test_words_of_other_programs(word: str, values: list[str]):
    assert as_values([word]) == values


def test_an_agents_command_line_is_a_run(cli: CommandLine):
    done = cli(
        "--task=inspect", "--optimizer={'lr': 0.003}", "--model=convgpt", "--trainer.clip=None", "hydra.run.dir=x"
    )
    assert done.code == 0 and done.result["variant"] == "convgpt"
    assert done.result["overrides"] == ["task=inspect", "optimizer.lr=0.003", "model=convgpt", "trainer.clip=null"]


@pytest.mark.parametrize("form", ["args", "args_no_hyphens"])
def test_what_a_wandb_agent_starts_is_a_run(cli: CommandLine, form: str):
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    chosen = {"optimizer": {"value": {"lr": 0.003}}, "model": {"value": "convgpt"}, "compile": {"value": False}}
    command = create_sweep_command(["${interpreter}", "${program}", "task=inspect", "hydra.run.dir=x", f"${{{form}}}"])
    _, program, *words = [part.replace("${program}", "run.py") for part in command]
    args = create_sweep_command_args({"args": chosen})[form]
    done = cli(*[word for part in words for word in (args if part == f"${{{form}}}" else [part])])
    assert program == "run.py" and done.code == 0, done.err
    assert done.result["variant"] == "convgpt" and any(
        "optimizer.lr=0.003" in word for word in done.result["overrides"]
    )


def test_variables_of_wandb_are_the_loggers_values(monkeypatch: pytest.MonkeyPatch):
    given = {"MODE": "disabled", "PROJECT": "p", "ENTITY": "e", "RUN_GROUP": "g", "NAME": "n", "NOTES": "o", "DIR": "d"}
    for name, value in {**given, "TAGS": "a, b", "JOB_TYPE": "j"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        logger = load_settings(compose("config", ["logger=wandb", "logger.project=mine"])).logger
    assert (logger.mode, logger.project, logger.entity, logger.group) == ("disabled", "mine", "e", "g")
    assert (logger.name, logger.notes, str(logger.dir)) == ("n", "o", "d")
    assert (logger.tags, logger.job_type) == (("a", "b"), "j")


@pytest.mark.parametrize("path", ["runs/a", "/runs/a", "../a", "a, b=[1]", "it's", "é/a"])
def test_a_path_of_an_arm_is_one_value_in_hydras_grammar(path: str):
    resolvers.register()
    recipe = OmegaConf.load(CONF / "experiment" / "shrink.yaml")
    recipe.checkpoint = path
    (word,) = words_of({"distill.from": recipe.hydra.sweeper.arms[2]["distill.from"]})
    override = OverridesParser.create().parse_override(word)
    assert not override.is_sweep_override() and override.value() == path
    assert words_of(candidate_arms(None, path)[0]) == [word.replace("distill.from", "checkpoint")]
