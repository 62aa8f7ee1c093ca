"""The jobs of a sweep, each in a process tree of its own.

Distributed training inside a sweep is then an ordinary single run, a job that dies takes nothing with it, and what is
left on the disk says what is still to do: the same command goes on where it was.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from smallgpt.files import write_text
from smallgpt.launch.arm_names import arms_of_sweep
from smallgpt.launch.command_line import given
from smallgpt.launch.composing import ComposedJob, JobComposer
from smallgpt.launch.loading import chosen_keys
from smallgpt.launch.starter import Starter
from smallgpt.launch.sweep_job import Machines, SweepJob
from smallgpt.notices import say
from smallgpt.reporting.jobs import ReportedJob, comparable
from smallgpt.reporting.naming import Described
from smallgpt.run_directory import (
    SPEED_KEYS,
    UNWRITABLE,
    cannot_be_written,
    config_of_run,
    flat,
    read_unwritable,
    write_config,
)
from smallgpt.settings import Trainer
from smallgpt.tasks.poc_stages import reopen

RECORD = ".job.json"  # in a job's directory, read by smallgpt.launch.process


def launch(
    composer: JobComposer,
    job_overrides: Sequence[Sequence[str]],
    first: int,
    machines: Machines,
    hopeless: Callable[[SweepJob], bool] | None = None,
) -> list[JobReturn]:
    """Writes the resolved config of every job, then runs those that are not over; stops those that are hopeless."""
    composed = [composer.job(first + i, list(words)) for i, words in enumerate(job_overrides)]
    jobs = [prepare_job(each) for each in composed]
    write_records(composer.sweep, jobs, composed)
    del composed
    composer.jobs.clear()  # the configs are on the disk now
    shared = set.intersection(*[set(job.overrides) for job in jobs])
    for job in jobs:
        machines.check(job.trainer)
        words = [word for word in job.overrides if word not in shared and word.partition("=")[0] not in SPEED_KEYS]
        job.name = " ".join([job.run_dir.name, *words])
    sweep_dir = Path(composer.sweep.hydra.sweep.dir)
    Starter(sweep_dir, jobs, machines, hopeless).run()
    record_trouble(sweep_dir, jobs)
    returns = []
    for job in jobs:
        returned = JobReturn(overrides=job.overrides, working_dir=str(job.run_dir))
        returned.return_value = job.result
        returned.status = JobStatus.COMPLETED  # the report names jobs that failed; Hydra would stop at the first
        returns.append(returned)
    return returns


def prepare_job(composed: ComposedJob) -> SweepJob:
    """Makes the directory of a job with its config, resolved now: later edits of a YAML change nothing."""
    run_dir = composed.run_dir
    plain = {**composed.plain, "resume": "auto"}  # a job that was cut off goes on
    job = SweepJob(run_dir.absolute(), composed.overrides, Trainer(**composed.plain["trainer"]), composed.number)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        reopen(run_dir, plain)
        if job.over:
            before = run_dir / "config.yaml"
            job.logged_otherwise = before.exists() and logger_of(config_of_run(run_dir)) != logger_of(plain)
        else:
            write_config(run_dir, plain)
    except OSError as error:
        job.trouble = cannot_be_written(run_dir, error)
    return job


def write_records(config: DictConfig, jobs: list[SweepJob], composed: list[ComposedJob]) -> None:
    """Writes for each job that is to run what its process must know beside its config.

    The record has the name of the job's arm, which depends on all jobs.
    """
    known = set(given(config.hydra))
    own = chosen_keys([word for job in jobs for word in job.overrides if word not in known])
    search = str(config.hydra.sweeper._target_).endswith(".OptunaSweeper")
    pairs = [(job, each) for job, each in zip(jobs, composed, strict=True) if not job.trouble]
    names = arms_of_sweep([to_be_named(*pair) for pair in pairs], own if search else ())
    for (job, each), name in zip(pairs, names, strict=True):
        if not job.over:
            record = {"overrides": each.overrides, "choices": each.choices, "arm": name}
            try:
                write_text(job.run_dir / RECORD, json.dumps(record))
            except OSError as error:
                job.trouble = cannot_be_written(job.run_dir, error)


def to_be_named(job: SweepJob, composed: ComposedJob) -> Described:
    """What may name a job, as its report will have it; what was just written is not read again."""
    result = job.result
    if job.over:
        return ReportedJob(job.run_dir.name, job.run_dir, result).described
    variant = result.get("variant") or composed.choices.get("model", "?")
    config = comparable(flat(composed.plain), result.get("task", "train"))
    return Described(variant, composed.choices, config, chosen_keys(composed.overrides))


def record_trouble(sweep_dir: Path, jobs: list[SweepJob]) -> None:
    """Writes at the top of a sweep which jobs have failed without a directory that could hold their result."""
    path = sweep_dir / UNWRITABLE
    ours = {job.run_dir.name for job in jobs}
    record = {name: result for name, result in read_unwritable(sweep_dir).items() if name not in ours}
    for job in jobs:
        if job.trouble and not job.over:
            record[job.run_dir.name] = {"status": "failed", "error": job.trouble, "overrides": job.overrides}
    try:
        if record:
            write_text(path, json.dumps(record, indent=2) + "\n")
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        say(f"{path}: {error.strerror}")


def logger_of(plain: dict[str, Any]) -> str | None:
    """The class of a config's logger."""
    logger = plain.get("logger")
    return logger.get("_target_") if isinstance(logger, dict) else None
