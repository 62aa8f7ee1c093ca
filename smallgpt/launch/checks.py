"""Hydra callback that refuses what cannot work before a directory is made or a job begins."""

import json
import os
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from smallgpt.errors import Impossible, UserError, nearest_key
from smallgpt.files import write_text
from smallgpt.launch.bounds import refuse_beyond_machine, refuse_endless_warmup
from smallgpt.launch.command_line import given, refuse
from smallgpt.launch.composed_choices import dotted
from smallgpt.launch.extension import refuse_extension
from smallgpt.launch.loading import load_settings
from smallgpt.launch.rephrase import rephrase
from smallgpt.launch.this_machine import ThisMachine
from smallgpt.launch.used_keys import refuse_unused
from smallgpt.notices import say
from smallgpt.ranks import is_first_process, started_by
from smallgpt.run_directory import (
    LEFT_OUT,
    STATE,
    claim,
    flat,
    refuse_foreign,
    refuse_foreign_sweep,
    refuse_other_config,
    refuse_taken,
    release,
)
from smallgpt.settings import Settings
from smallgpt.tasks.benchmark import check_benchmark
from smallgpt.tasks.evaluate import check_evaluation
from smallgpt.tasks.finetune import check_finetuning
from smallgpt.tasks.poc import check_poc

OF_A_SWEEP = ("hydra/launcher", "hydra.launcher.", "hydra/sweeper", "hydra.sweeper.", "hydra.sweep.")
OPEN_IN_HYDRA = tuple(  # nodes of Hydra that take keys of one's own
    f"hydra.{name}"
    for name in ("launcher.", "sweeper.", "job.env_", "callbacks.", "job_logging", "hydra_logging", "help")
)
TASKS_WITH_DATA = {"train", "prepare", "inspect", "finetune", "poc"}
TIMED = {"benchmark", "poc"}
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
            settings = checked_settings(config)
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


def checked_settings(config: DictConfig, here: bool = True) -> Settings:
    """The settings of a job; raises UserError for the first thing that is wrong.

    Args:
        here: whether the job is to run on this machine.
    """
    HydraConfig.instance().set_config(config)
    keys = [str(key) for key in config if key != "hydra"]
    refuse_unused(config, given(config.hydra), alone=config.hydra.mode != RunMode.MULTIRUN)
    settings = load_settings(OmegaConf.masked_copy(config, keys), given(config.hydra))
    if here:
        refuse_beyond_machine(settings)
    if settings.task_name in TASKS_WITH_DATA:
        settings.data.check()
        settings.tokenizer.check()
    if settings.task_name in TASKS_WITH_MODEL and not (settings.task_name == "poc" and settings.origin):
        refuse_endless_warmup(settings)
        from smallgpt.contract.required import require_contract  # imports PyTorch

        name = f"model={config.hydra.runtime.choices['model']}"
        require_contract(settings.model_class, settings.model, settings.cache_dir, name)
    if settings.task_name == "finetune":
        check_finetuning(settings)
    if settings.task_name == "poc":
        check_poc(settings)
    if settings.task_name == "benchmark" or settings.eval is not None:
        from smallgpt.machine.device import device  # imports PyTorch

        check_task = check_benchmark if settings.task_name == "benchmark" else check_evaluation
        check_task(settings, device(settings.trainer.accelerator))
    return settings


def check_grid(loader: ConfigLoader, config: DictConfig, jobs: list[list[str]]) -> list[list[str]]:
    """Jobs of a sweep that can exist; says which ones are left out, and claims the directory of the sweep.

    Raises:
        UserError: for the first job that is wrong, or if none can exist.
    """
    possible: list[list[str]] = []
    keys: dict[str, None] = {}
    tuned: dict[str, None] = {}
    left_out: list[tuple[list[str], str]] = []
    directories: set[str] = set()
    for words in jobs:
        try:
            settings = check_job(loader, config, len(possible), words)
        except Impossible as error:
            left_out.append((words, str(error)))
        else:
            refuse_shared(composed_job(loader, config, len(possible), words), directories)
            possible.append(words)
            keys |= dict.fromkeys(flat(settings.plain))
            tuned |= dict.fromkeys(settings.tune)
    if not possible:
        raise UserError(left_out[0][1])
    for key in tuned:
        if key not in keys:
            raise UserError(f"tune={key}: unknown key{nearest_key(key, keys)}")
    for message, number in Counter(why for _, why in left_out).items():
        say(f"left out, {number} of {len(jobs)} jobs: {message}")
    sweep_dir = Path(config.hydra.sweep.dir)
    refuse_foreign_sweep(sweep_dir)
    claim(sweep_dir, "hydra.sweep.dir")
    record_left_out(sweep_dir, left_out)
    return possible


def record_left_out(sweep_dir: Path, left_out: list[tuple[list[str], str]]) -> None:
    """Writes at the top of a sweep which words make no model, and why; removes what an earlier start wrote."""
    if left_out:
        record = [{"overrides": words, "reason": why} for words, why in left_out]
        write_text(sweep_dir / LEFT_OUT, json.dumps(record, indent=2) + "\n")
    else:
        (sweep_dir / LEFT_OUT).unlink(missing_ok=True)


def composed_job(loader: ConfigLoader, config: DictConfig, number: int, words: list[str]) -> DictConfig:
    """The config of one job of a sweep."""
    job = loader.load_sweep_config(config, words)
    with open_dict(job):
        job.hydra.job.num = number
    return job


def directory_of(job: DictConfig) -> Path:
    """Directory that a job of a sweep writes into."""
    return Path(job.hydra.sweep.dir) / str(job.hydra.sweep.subdir)


def refuse_shared(job: DictConfig, directories: set[str]) -> None:
    """Adds a job's directory to those of the jobs before it; raises UserError where it is one of them."""
    HydraConfig.instance().set_config(job)
    subdir = os.path.normpath(job.hydra.sweep.subdir)  # of one sweep.dir, whose time of day each job would ask anew
    if subdir in directories:
        raise UserError(
            f"hydra.sweep.subdir={subdir}: two jobs would share this directory; leave it out, or name it by what "
            "differs between them"
        )
    directories.add(subdir)


def check_job(loader: ConfigLoader, config: DictConfig, number: int, words: list[str]) -> Settings:
    """The settings of a job of a sweep.

    Raises UserError where they are wrong, or are not those of the job that its directory holds.
    """
    job = composed_job(loader, config, number, words)
    machines = None
    if str(config.hydra.launcher._target_).startswith("hydra_plugins.smallgpt_launcher."):
        machines = instantiate(config.hydra.launcher).machines
        matched = OmegaConf.select(job, "match.quantity") == "latency"
        if (matched or job.get("latency") is not None) and not isinstance(machines, ThisMachine):
            word = "match=latency" if matched else "latency=measured"
            launcher = config.hydra.runtime.choices["hydra/launcher"]
            raise UserError(
                f"{word}: measured on this machine, and hydra/launcher={launcher} runs jobs on others; "
                "use hydra/launcher=processes there"
            )
    settings = checked_settings(job, here=machines is None or isinstance(machines, ThisMachine))
    if settings.resume == "extend":
        raise UserError("resume=extend: goes on with one run; leave -m out, and name it with hydra.run.dir=")
    if machines is not None:
        machines.check(settings.trainer)
        at_once = machines.jobs_on_a_device(settings.trainer) if isinstance(machines, ThisMachine) else 1
        if settings.task_name in TIMED and at_once > 1:
            raise UserError(
                f"hydra.launcher.n_jobs={machines.n_jobs}: jobs of task={settings.task_name} are timed and would "
                "disturb each other; use 1"
            )
    refuse_foreign(directory_of(job), "hydra.sweep.dir")
    refuse_other_config(directory_of(job), settings, "hydra.sweep.dir")
    return settings
