"""`task=dashboard` makes or updates a workspace and a report on W&B for a sweep that was logged there."""

import json
from pathlib import Path
from typing import Any

from smallgpt.errors import UserError
from smallgpt.packages import require
from smallgpt.settings import Settings


def run(settings: Settings, run_dir: Path) -> dict[str, Any]:
    """Saves workspace and report, or with dry_run=true writes their specification; returns the section `dashboard`.

    The addresses are kept in the sweep's dashboard.json, so that the next call updates what this one made.
    """
    from smallgpt.files import write_text
    from smallgpt.reporting.dashboard import RECORD, publish, specification
    from smallgpt.reporting.study import read_study
    from smallgpt.training.weights_and_biases import ID_FILE, WandB, imported_wandb

    logger = settings.logger
    if len(settings.sweep) != 1 or not settings.sweep[0]:
        raise UserError(f"sweep={list(settings.sweep) or 'null'}: task=dashboard takes the directory of one sweep")
    if not isinstance(logger, WandB):
        raise UserError("logger: task=dashboard needs logger=wandb, with the project and entity of the sweep")
    require("task=dashboard", "wandb_workspaces")
    sweep = Path(settings.sweep[0]).expanduser()
    study = read_study([sweep], settings.baseline, settings.tune)
    if not any((job.run_dir / ID_FILE).exists() for job in study.jobs):
        raise UserError(f"sweep={sweep}: none of its jobs was logged to W&B; run them with logger=wandb")
    group = logger.group or sweep.resolve().name
    if settings.dry_run:
        path = sweep / "dashboard_specification.json"
        write_text(path, json.dumps(specification(study, logger.project, group), indent=2) + "\n")
        print(f"specification: {path}")
        return {"dashboard": {"specification": path}}
    if not imported_wandb().login(prompt=False, verify=False):
        raise UserError("task=dashboard: not logged in to W&B; `wandb login`, or dry_run=true writes the specification")
    record = sweep / RECORD
    before = json.loads(record.read_text()) if record.exists() else {}
    made = publish(study, logger.entity, logger.project, group, before)
    write_text(record, json.dumps(made, indent=2) + "\n")
    print("\n".join(f"{name}: {address}" for name, address in made.items()))
    return {"dashboard": made}
