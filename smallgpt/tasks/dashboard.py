"""`task=dashboard` makes or updates a workspace and a report on W&B for sweeps that were logged there."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallgpt.errors import UserError
from smallgpt.packages import require
from smallgpt.settings import Settings

if TYPE_CHECKING:
    from smallgpt.reporting.study import Study
    from smallgpt.training.weights_and_biases import WandB


def run(settings: Settings, run_dir: Path) -> dict[str, Any]:
    """Saves workspace and report; with dry_run=true writes their specification and a preview instead.

    The addresses are kept in the directory of the (first) sweep, so that the next call updates what this one made.
    """
    from smallgpt.files import write_text
    from smallgpt.packages import imported_wandb
    from smallgpt.reporting.dashboard import publish
    from smallgpt.reporting.study import read_study
    from smallgpt.training.wandb_run import ID_FILE

    logger = wandb_of(settings)
    require("task=dashboard", "wandb_workspaces")
    sweeps = sweeps_of(settings)
    study = read_study(sweeps, settings.baseline, settings.tune)
    if not any((job.run_dir / ID_FILE).exists() for job in study.jobs):
        raise UserError(
            f"sweep={', '.join(map(str, sweeps))}: none of its jobs was logged to W&B; run them with logger=wandb, or "
            "send them as they are with task=log"
        )
    groups = [logger.group] if logger.group else [sweep.resolve().name for sweep in sweeps]
    if settings.dry_run:
        return write_preview(study, logger, groups, sweeps[0] if len(sweeps) == 1 else run_dir)
    if not imported_wandb().login(prompt=False, verify=False):
        raise UserError("task=dashboard: not logged in to W&B; `wandb login`, or dry_run=true writes a preview")
    record = sweeps[0] / ("dashboard.json" if len(groups) == 1 else f"dashboard_{'_'.join(groups)}.json")
    before = json.loads(record.read_text()) if record.exists() else {}
    made = publish(study, logger.entity, logger.project, groups, before)
    write_text(record, json.dumps(made, indent=2) + "\n")
    print("\n".join(f"{name}: {address}" for name, address in made.items()))
    return {"dashboard": made}


def wandb_of(settings: Settings) -> "WandB":
    """The logger's settings. Raises UserError where it is another logger."""
    from smallgpt.training.weights_and_biases import WandB

    if not isinstance(settings.logger, WandB):
        raise UserError(
            f"logger: task={settings.task_name} needs logger=wandb, with the project and entity of the sweep"
        )
    return settings.logger


def sweeps_of(settings: Settings) -> list[Path]:
    """Directories of the sweeps that are asked for. Raises UserError where there is none."""
    if not all(settings.sweep or ("",)):
        raise UserError(f"sweep=null: task={settings.task_name} takes the directory of a sweep, or a list of them")
    return [Path(sweep).expanduser() for sweep in dict.fromkeys(settings.sweep)]


def write_preview(study: "Study", logger: "WandB", groups: list[str], folder: Path) -> dict[str, Any]:
    """Writes the specification that W&B would be sent, and a page with its panels over the logged runs."""
    from smallgpt.files import write_text
    from smallgpt.reporting.dashboard import specification, title_of
    from smallgpt.reporting.dashboard_panels import sections
    from smallgpt.reporting.dashboard_preview import preview
    from smallgpt.reporting.wandb_files import logged_runs
    from smallgpt.training.wandb_run import ID_FILE

    specified, page = folder / "dashboard_specification.json", folder / "dashboard.html"
    write_text(specified, json.dumps(specification(study, logger.project, groups), indent=2) + "\n")
    ids = [path.read_text().strip() for job in study.jobs if (path := job.run_dir / ID_FILE).exists()]
    holders = [*study.sweeps, *(job.run_dir for job in study.jobs), *([logger.dir] if logger.dir else [])]
    write_text(page, preview(title_of(groups), sections(study), logged_runs(ids, holders)))
    print(f"specification: {specified}\npreview: {page}")
    return {"dashboard": {"specification": specified, "preview": page}}
