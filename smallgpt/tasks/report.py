"""`task=report` makes the tables, the figures and the page of one or several sweeps again."""

from pathlib import Path
from typing import Any

from smallgpt.errors import UserError
from smallgpt.settings import Settings


def run(settings: Settings, run_dir: Path) -> dict[str, Any]:
    """Writes the report of a sweep into its directory, that of several into the run's; returns the section `report`."""
    if not all(settings.sweep or ("",)):
        raise UserError("sweep=null: task=report needs the directory of a sweep, such as multirun_outputs/STUDY")
    from smallgpt.reporting.report import report
    from smallgpt.reporting.study import read_study

    sweeps = [Path(sweep).expanduser() for sweep in dict.fromkeys(settings.sweep)]
    study = read_study(sweeps, settings.baseline, settings.tune, settings.label or {})
    return {"report": report(study, sweeps[0] if len(sweeps) == 1 else run_dir)}
