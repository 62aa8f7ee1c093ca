"""Logger choice `wandb`: what of a W&B run can be set, and what each run is called."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.loggers.logger import Logger
from pydantic import field_validator

from smallgpt.environment import environment
from smallgpt.errors import UserError
from smallgpt.notices import say
from smallgpt.packages import imported_wandb
from smallgpt.run_directory import sweep_of
from smallgpt.settings import Group, Settings
from smallgpt.training.sent_config import run_name, sent_config, tags, without_folders
from smallgpt.training.wandb_run import Extras, WholeRun

IGNORED = ("WANDB_SILENT", "WANDB_QUIET", "WANDB_CONSOLE", "WANDB_DISABLE_GIT", "WANDB_RESUME", "WANDB_DISABLED")
"""Variables of W&B which the logger's own settings replace; the library reads the others itself."""


class WandB(Group):
    """Logger choice `wandb`: a W&B run on this machine; nothing leaves it before `wandb sync`."""

    mode: Literal["offline", "online", "disabled"] = "offline"
    """Mode of W&B: `offline` writes files here, `online` sends while the run goes on, `disabled` does nothing."""
    project: str = "smallgpt"
    """Project on W&B that the runs are in."""
    entity: str | None = None
    """Account or team on W&B; null: the account's own."""
    group: str | None = None
    """Name that groups runs; null: that of the sweep's directory."""
    name: str | None = None
    """Name of the run; null: the variant, what sets the job apart, and the seed."""
    job_type: str | None = None
    """Kind of run on W&B; null: the variant."""
    notes: str | None = None
    """Notes of the run; null: the question that the sweep is to answer, if it has one."""
    tags: tuple[str, ...] = ()
    """Tags of the run, beside those of its recipe and its variant."""
    dir: Path | None = None
    """Folder in whose `wandb/` W&B keeps its files; null: the sweep's directory, or that of a single run."""
    x_axis: Literal["tokens", "flops", "seconds", "step"] = "tokens"
    """Metric that W&B draws all others against."""
    watch: Literal["gradients", "parameters", "all"] | None = None
    """Weights whose histograms are logged with the metrics; null: none."""
    log_model: Literal["best", "last"] | None = None
    """Checkpoint that is kept on W&B as an artifact with its model card; null: none."""
    alert: bool = False
    """Whether W&B writes to the account's owner when a run fails."""

    @field_validator("mode", mode="before")
    @classmethod
    def _of_older_releases(cls, value: Any) -> Any:
        return {"dryrun": "offline", "run": "online"}.get(str(value), value)

    @field_validator("tags", mode="before")
    @classmethod
    def _names_with_commas(cls, value: Any) -> Any:
        return [tag.strip() for tag in value.split(",") if tag.strip()] if isinstance(value, str) else value or ()

    def model_post_init(self, _: Any) -> None:
        if self.mode == "online" and not imported_wandb().login(prompt=False, verify=False):
            raise UserError("logger.mode=online: not logged in to W&B; `wandb login`, or logger.mode=offline")

    def build(self, settings: Settings, run_dir: Path) -> list[Logger]:
        if self.mode == "disabled":
            return []
        from smallgpt.models.configuration import DecoderConfig
        from smallgpt.models.cost import cost

        sweep = sweep_of(run_dir)
        say_of_variables(self.mode, sweep.name if sweep else None)
        known = {
            "variant": settings.variant,
            "seed": settings.seed,
            "overrides": settings.overrides,
            # of a model of transformers' own the task says it, when the model is there
            "cost": cost(settings.model).to_dict() if isinstance(settings.model, DecoderConfig) else None,
            "match": settings.matched.to_dict() if settings.matched else None,
            "environment": environment(),
        }
        return [self.run_of(run_dir, settings.plain, known, settings.arm, sweep)]

    def run_of(
        self, run_dir: Path, plain: Mapping[str, Any], result: Mapping[str, Any], arm: str, sweep: Path | None
    ) -> WholeRun:
        """The W&B run of a run directory, which begins when something is logged.

        Args:
            run_dir: keeps the id.
            plain: config of the run.
            result: sections of its result, as far as they are known.
            arm: name of the run without its seed.
            sweep: directory of the sweep that it is part of.
        """
        options = {
            "mode": self.mode,
            "project": self.project,
            "entity": self.entity,
            "group": self.group or (sweep.name if sweep else None),
            "job_type": self.job_type or result.get("variant"),
            "name": self.name or run_name(arm, result.get("seed")),
            "notes": self.notes or without_folders(plain.get("question")),
            "dir": self.dir or sweep or run_dir,
            "tags": tags(self.tags, result),
            "config": sent_config(plain, result, arm),
        }
        return WholeRun(run_dir, options, Extras(self.x_axis, self.watch, self.log_model, self.alert))


def say_of_variables(mode: str, sweep: str | None) -> None:
    """Says which WANDB_* variables are ignored, and whether a W&B sweep that started this run hears of it."""
    given = [name for name in (*IGNORED, *(["WANDB_RUN_ID"] if sweep else [])) if name in os.environ]
    if given:
        say(f"{', '.join(given)}: ignored; logger=wandb is quiet, sends no console, and has ids of its own")
    if "WANDB_SWEEP_ID" in os.environ and mode != "online":
        say(f"logger.mode={mode}: the W&B sweep that started this run hears nothing of it; logger.mode=online tells it")
