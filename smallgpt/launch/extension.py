"""`resume=extend`: a run that goes on to a larger budget, where its schedule has not come down with the smaller one."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from smallgpt.errors import UserError, shown
from smallgpt.launch.config_files import group_files, read_values
from smallgpt.run_directory import STATE
from smallgpt.settings import Budget, Settings
from smallgpt.targets import imported, target


def refuse_extension(run_dir: Path, settings: Settings, hydra: Any) -> None:
    """Raises UserError where a run directory holds no run that can go on to the budget of these settings."""
    before = run_dir / "config.yaml"
    if not (run_dir / STATE).exists() or not before.exists():
        raise UserError(f"resume=extend: {run_dir} holds no run with checkpoints; name one with hydra.run.dir=")
    if not settings.schedule.extends:
        allowed = " or ".join(extending_schedules(hydra))
        raise UserError(
            f"resume=extend: schedule={type(settings.schedule).__name__.lower()} came down to its end with the budget; "
            f"a run with schedule={allowed} can be extended, or checkpoint={run_dir} begins a new one from its weights"
        )
    (unit, old), (now, new) = amount(read_budget(before)), amount(settings.budget)
    if now != unit or new <= old:
        raise UserError(
            f"budget.{now}={shown(new)}: resume=extend goes on to a larger budget, and {run_dir} was begun with "
            f"budget.{unit}={shown(old)}"
        )


def read_budget(config: Path) -> Budget:
    """Budget of a run's config.yaml."""
    return Budget.model_validate(OmegaConf.to_container(OmegaConf.load(config).budget))


def amount(budget: Budget) -> tuple[str, float]:
    """The one kind of budget that is given, and how much of it."""
    ((unit, value),) = [(unit, value) for unit, value in budget if value is not None]
    return unit, value


def extending_schedules(hydra: Any) -> list[str]:
    """Choices of `schedule` under which a run can be extended."""
    classes = {
        name: imported("schedule", target("schedule", OmegaConf.to_container(read_values(file)))[0])
        for name, file in group_files("schedule", hydra).items()
    }
    return [name for name, schedule in classes.items() if getattr(schedule, "extends", False)]
