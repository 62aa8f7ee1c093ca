"""A key that a task does not use is refused where it is given; each key of the config has a task that uses it."""

import pytest
from command_line import CommandLine
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from smallgpt.errors import UserError
from smallgpt.launch.config_files import CONF
from smallgpt.launch.used_keys import USED, is_under, is_used, refuse_unused
from smallgpt.run_directory import flat

GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name not in ("hydra", "task"))
SWEEP_ALONE = {"study"}


def composed(*words: str):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [*words])


def all_keys() -> list[str]:
    """Every key of the config, with the groups that one can choose."""
    config = composed("data=files", "match=params", "eval=tasks", "logger=wandb")
    values = flat(OmegaConf.to_container(config, resolve=False))
    return [*GROUPS, *(key for key in values if "_target_" not in key and not key.startswith("task"))]


def test_each_key_has_a_task_that_uses_it():
    for key in all_keys():
        assert key in SWEEP_ALONE or any(is_used(key, names) for names in USED.values()), key


@pytest.mark.parametrize("task", sorted(USED))
def test_every_key_is_used_or_refused(task: str):
    config = composed(f"task={task}")
    for key in all_keys():
        if is_under(key, USED[task]):
            continue
        if key == "trainer" and is_used(key, USED[task]):  # trainer=gpu names the accelerator
            refuse_unused(config, [f"{key}=x"], alone=True)
            continue
        with pytest.raises(UserError) as error:
            refuse_unused(config, [f"{key}=x"], alone=True)
        assert str(error.value).startswith(f"{key}=x: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["task=inspect", "checkpoint=/nowhere"], "checkpoint=/nowhere: no such folder"),
        (["task=inspect", "format=onnx"], "format=onnx: task=inspect does not use it, task=export would; leave it out"),
        (["task=prepare", "model=gpt"], "model=gpt: task=prepare does not use it"),
        (["task=generate", "checkpoint=x", "size=paper"], "size=paper: task=generate does not use it"),
        (["task=generate", "checkpoint=x", "trainer=ddp"], "trainer.devices=2: task=generate runs in one process"),
        (["task=benchmark", "checkpoint=x", "size=paper"], "size=paper: what checkpoint= names has its own"),
        (["task=benchmark", "tune=seed"], "tune=seed: task=benchmark uses it with sweep= alone"),
        (["task=evaluate", "eval=quick", "generation.top_k=3"], "generation.top_k=3: task=evaluate continues texts"),
        (["quantize=bf16"], "quantize=bf16: task=train uses it with eval= alone"),
        (["sweep=x"], "sweep=x: task=train does not use it, task=benchmark and task=report"),
        (["study=x"], "study=x: belongs to a sweep; add -m"),
        (["resume=extend", "schedule=wsd"], "holds no run with checkpoints; name one with hydra.run.dir="),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_a_task_does_not_use_is_refused(cli: CommandLine, words: list[str], part: str):
    assert part in cli.refused(*words)
