"""Hydra callback that refuses what cannot work before a directory is made or a job begins."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from smallgpt.errors import UserError
from smallgpt.launch.command_line import given, refuse
from smallgpt.launch.ranks import is_first_process, started_by
from smallgpt.launch.rephrase import rephrase
from smallgpt.run_directory import claim, refuse_other_config, refuse_taken, release
from smallgpt.settings import Settings, load

TASKS_WITH_DATA = {"train", "prepare", "inspect"}


class Checks(Callback):
    """A single run is checked once, a sweep job by job before its first job starts."""

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
            settings = check(config)
            refuse_taken(run_dir, settings.resume)
            refuse_other_config(run_dir, settings.plain)
            self.made = claim(run_dir)

    def on_run_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        status = job_return.return_value["status"]
        if status == "refused":
            release(self.made)
        if status != "completed":
            raise SystemExit(1)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        with refusing():
            if several := started_by():
                raise UserError(f"-m: starts its own processes, not {several[0]}'s")
            sweep_dir = Path(config.hydra.sweep.dir)
            own = str(config.hydra.launcher._target_).startswith("hydra_plugins.smallgpt_launcher.")
            machines = instantiate(config.hydra.launcher).machines if own else None
            for job in sweep_jobs(config):
                settings = check(job)
                if machines:
                    machines.check(settings.trainer)
                refuse_other_config(sweep_dir / str(job.hydra.sweep.subdir), settings.plain, "hydra.sweep.dir")
            claim(sweep_dir, "hydra.sweep.dir")


@contextmanager
def refusing() -> Generator[None]:
    """Ends the process on what is wrong: Hydra turns an ordinary exception of a callback into a warning."""
    try:
        yield
    except Exception as error:
        refuse(str(error) if isinstance(error, UserError) else rephrase(error))
        raise SystemExit(1) from None


def check(config: DictConfig) -> Settings:
    """The settings of a job; raises UserError for the first thing that is wrong."""
    HydraConfig.instance().set_config(config)
    keys = [str(key) for key in config if key != "hydra"]
    settings = load(OmegaConf.masked_copy(config, keys), given(config.hydra))
    if settings.task_name in TASKS_WITH_DATA:
        settings.data.check()
        settings.tokenizer.check()
    return settings


def sweep_jobs(config: DictConfig) -> Iterator[DictConfig]:
    """The configs of the jobs that are known before the first one: all of a grid's, some of a search's."""
    sweeper = config.hydra.sweeper
    loader = GlobalHydra.instance().config_loader()
    if sweeper._target_ == f"{BasicSweeper.__module__}.{BasicSweeper.__qualname__}":
        words = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
        words += given(config.hydra)
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(words)
        jobs = list(enumerate(BasicSweeper.split_arguments(overrides, None)[0]))
    elif sweeper._target_ == "hydra_plugins.smallgpt_sweeper.OptunaSweeper":
        jobs = instantiate(sweeper).search(config).known_jobs()
    else:
        return
    for number, job in jobs:
        composed = loader.load_sweep_config(config, list(job))
        with open_dict(composed):
            composed.hydra.job.num = number
        yield composed
