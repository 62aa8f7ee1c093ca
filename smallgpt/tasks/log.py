"""`task=log` sends the finished runs of sweeps to W&B, with their curves, and trains nothing."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallgpt.errors import UserError
from smallgpt.notices import say
from smallgpt.settings import Settings
from smallgpt.tasks.dashboard import sweeps_of, wandb_of

if TYPE_CHECKING:
    from smallgpt.reporting.jobs import ReportedJob
    from smallgpt.training.weights_and_biases import WandB


def run(settings: Settings, run_dir: Path) -> dict[str, Any]:
    """Logs each run that has trained, under the id that it has or gets; returns the section `logged`."""
    from smallgpt.reporting.naming import distinguishing, labels
    from smallgpt.reporting.study import read_study

    logger = wandb_of(settings)
    if logger.mode == "disabled":
        raise UserError("logger.mode=disabled: task=log would send nothing; give offline or online")
    study = read_study(sweeps_of(settings))
    jobs = [job for job in study.jobs if job.task == "train" and job.status != "unfinished" and job.curve]
    if not jobs:
        raise UserError(f"sweep={', '.join(settings.sweep)}: no job of it has trained and ended")
    names = labels([job.variant for job in jobs], distinguishing([job.described for job in jobs]))
    places = []
    for job, name in zip(jobs, names, strict=True):
        if logger.mode == "offline" and is_offline(job, logger):
            say(f"job {job.name}: has an offline run already; `wandb sync` or logger.mode=online sends it")
        else:
            places.append(log_job(logger, job, name))
    return {"logged": places}


def is_offline(job: "ReportedJob", logger: "WandB") -> bool:
    """Whether an offline run of a job lies on this machine."""
    from smallgpt.training.wandb_run import ID_FILE

    path = job.run_dir / ID_FILE
    holders = [job.run_dir, job.run_dir.parent, *([logger.dir] if logger.dir else [])]
    return path.exists() and any(
        any((holder / "wandb").glob(f"offline-run-*-{path.read_text().strip()}")) for holder in holders
    )


def log_job(logger: "WandB", job: "ReportedJob", arm: str) -> dict[str, Any]:
    """Logs a run from its result.json and metrics.csv, as its training would have; returns where it can be seen."""
    from smallgpt.results import metric_rows
    from smallgpt.run_directory import config_of_run

    result = {**job.result, "variant": job.variant, "seed": job.seed, "overrides": job.result.get("overrides", [])}
    whole = logger.run_of(job.run_dir, config_of_run(job.run_dir), result, arm, job.run_dir.resolve().parent)
    failure = "unfinished"
    try:
        place = whole.begin({})
        whole.log_kept(metric_rows(job.run_dir))
        whole.log_result(result)
        if section := job.section("evaluation"):
            whole.log_evaluation(section, {})
        failure = None if job.completed else str(job.result.get("error") or job.status)
    finally:
        whole.end(failure)
    return {"job": job.name, **place}
