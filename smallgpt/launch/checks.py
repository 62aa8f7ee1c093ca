"""Hydra callback that refuses what cannot work before a directory is made or a job begins."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from smallgpt.errors import UserError, nearest_key
from smallgpt.launch.bounds import refuse_beyond_machine, refuse_endless_warmup
from smallgpt.launch.command_line import given, refuse
from smallgpt.launch.composed_choices import dotted
from smallgpt.launch.extension import refuse_extension
from smallgpt.launch.known import Known
from smallgpt.launch.loading import checked_config, resolved_config
from smallgpt.launch.rephrase import rephrase
from smallgpt.launch.used_keys import refuse_unused
from smallgpt.ranks import is_first_process, started_by
from smallgpt.run_directory import (
    STATE,
    claim,
    refuse_foreign,
    refuse_other_config,
    refuse_taken,
    release,
)
from smallgpt.settings import Settings
from smallgpt.tasks.benchmark import check_benchmark
from smallgpt.tasks.evaluate import check_evaluation
from smallgpt.tasks.finetune import check_finetuning
from smallgpt.tasks.poc import check_poc
from smallgpt.tasks.prepare import check_shards

OF_A_SWEEP = ("hydra/launcher", "hydra.launcher.", "hydra/sweeper", "hydra.sweeper.", "hydra.sweep.")
OPEN_IN_HYDRA = tuple(  # nodes of Hydra that take keys of one's own
    f"hydra.{name}"
    for name in ("launcher.", "sweeper.", "job.env_", "callbacks.", "job_logging", "hydra_logging", "help")
)
TASKS_WITH_DATA = {"train", "prepare", "inspect", "finetune", "poc"}
TASKS_WITH_MODEL = {"train", "inspect", "poc"}


class Checks(Callback):
    """Hydra callback that checks a single run before it is made; the sweeper checks the jobs of a sweep."""

    def __init__(self) -> None:
        self.made: list[Path] = []

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        if not is_first_process():
            return
        with refusing():
            run_dir = Path(config.hydra.run.dir)
            several = started_by()
            if several and not any(word.startswith("hydra.run.dir=") for word in config.hydra.overrides.hydra):
                raise UserError(f"hydra.run.dir={run_dir}: {several[0]} starts several processes; give one for all")
            refuse_unknown_of_hydra(config)
            refuse_without_multirun(config)
            refuse_two_directories(config, "hydra.run.dir")
            HydraConfig.instance().set_config(config)
            words = given(config.hydra)
            refuse_unused(config, words, alone=True)
            settings = checked_settings(resolved_config(config), words, str(config.hydra.runtime.choices.get("model")))
            refuse_foreign(run_dir)
            if settings.resume == "extend":
                refuse_extension(run_dir, settings, config.hydra)
            refuse_taken(run_dir, settings.resume)
            refuse_other_config(run_dir, settings)
            if settings.task_name == "train" and settings.resume is not None and (run_dir / STATE).exists():
                from smallgpt.training.saved_state import check_state

                check_state(run_dir / STATE, settings.model_class, settings.model)
            self.made = claim(run_dir)

    def on_run_end(self, config: DictConfig, **given: Any) -> None:
        status = given["job_return"].return_value["status"]
        if status == "refused":
            release(self.made)
        if status != "completed":
            raise SystemExit(1)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        with refusing():
            refuse_unknown_of_hydra(config)
            refuse_two_directories(config, "hydra.sweep.dir")
            if several := started_by():
                raise UserError(f"-m: starts its own processes, not {several[0]}'s")


@contextmanager
def refusing() -> Generator[None]:
    """Context that ends the process on any error: Hydra turns an ordinary exception of a callback into a warning."""
    try:
        yield
    except Exception as error:
        refuse(str(error) if isinstance(error, UserError) else rephrase(error))
        raise SystemExit(1) from None


def refuse_unknown_of_hydra(config: DictConfig) -> None:
    """Raises UserError for a key that is added to Hydra's own node, which takes any and uses none."""
    known = [f"hydra.{name}" for name in dotted(OmegaConf.structured(HydraConf))]
    for word in config.hydra.overrides.hydra:
        key = word.lstrip("+").partition("=")[0]
        if word.startswith("+") and key not in known and not key.startswith(OPEN_IN_HYDRA):
            raise UserError(f"{word}: unknown key{nearest_key(key, known)}")


def refuse_two_directories(config: DictConfig, key: str) -> None:
    """Raises UserError where resume=last finds a directory and the command line gives another one."""
    if config.get("resume") == "last" and any(word.startswith(f"{key}=") for word in config.hydra.overrides.hydra):
        raise UserError(f"resume=last: takes the directory of the last one; leave {key} out, or give resume=auto")


def refuse_without_multirun(config: DictConfig) -> None:
    """Raises UserError where the words of a sweep stand without -m: one run, here, is not what they ask for."""
    for word in config.hydra.overrides.hydra:
        if word.lstrip("+~").startswith(OF_A_SWEEP):
            raise UserError(f"{word}: belongs to a sweep; add -m")
    sweeper = config.hydra.sweeper
    params, arms = sweeper.get("params") or {}, sweeper.get("arms") or []
    if over := [*([f"{len(arms)} arms"] if arms else []), *params]:
        recipe = config.hydra.runtime.choices.get("experiment")
        raise UserError(f"experiment={recipe}: a sweep over {', '.join(over)}; add -m")


def checked_settings(
    plain: dict[str, Any],
    words: Sequence[str],
    chosen_model: str,
    here: bool = True,
    known: Known | None = None,
) -> Settings:
    """The settings of a job; raises UserError for the first thing that is wrong.

    Args:
        plain: the composed config, resolved.
        words: those that it was composed with.
        chosen_model: name of the chosen YAML.
        here: whether the job is to run on this machine.
        known: what was found for jobs before, of the same sweep; more is added.
    """
    known = known or Known()
    settings = checked_config(plain, words, known=known)
    model = [settings.plain.get("model"), settings.checkpoint]
    if hasattr(settings.model, "settable"):  # not one of transformers' own; a matched size is in no plain value
        model += [getattr(settings.model, key) for key in settings.model.settable()]
    if here:
        known.once(partial(refuse_beyond_machine, settings), "machine", settings.task_name, plain["trainer"], model)
    if settings.task_name in TASKS_WITH_DATA:
        known.once(partial(check_corpus, settings), "corpus", settings.plain["data"], settings.plain["tokenizer"])
    if settings.task_name in TASKS_WITH_MODEL and not (settings.task_name == "poc" and settings.origin):
        refuse_endless_warmup(settings)
        from smallgpt.contract.required import require_contract  # imports PyTorch

        require = partial(
            require_contract, settings.model_class, settings.model, settings.cache_dir, f"model={chosen_model}"
        )
        known.once(require, "contract", chosen_model, model)
    if settings.task_name == "prepare" and settings.prepare:
        known.once(partial(check_shards, settings), "shards", settings.plain["data"], settings.prepare.shards)
    if settings.task_name == "finetune":
        check_finetuning(settings)
    if settings.task_name == "poc":
        check_poc(settings)
    if settings.task_name == "benchmark" or settings.eval is not None:
        from smallgpt.machine.device import device  # imports PyTorch

        check_task = check_benchmark if settings.task_name == "benchmark" else check_evaluation
        check_task(settings, device(settings.trainer.accelerator))
    return settings


def check_corpus(settings: Settings) -> None:
    """Raises UserError where the text or the tokenizer cannot be had."""
    settings.data.check()
    settings.tokenizer.check()
