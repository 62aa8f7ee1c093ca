"""W&B logger, the one place that knows W&B: a view of each run; the record is in the run directory."""

import os
import re
import secrets
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from pydantic import field_validator

from smallgpt.errors import UserError
from smallgpt.files import write_text
from smallgpt.notices import say
from smallgpt.run_directory import LOCATION_KEYS
from smallgpt.settings import Group, Settings

X_AXIS = "tokens"
ID_FILE = "wandb_id.txt"  # in the run directory: the id of its W&B run
NOT_SENT = LOCATION_KEYS | {"logger"}  # may name folders and accounts
COSTS = ("parameters", "training_flops_per_token", "inference_flops_per_token", "cache_bytes_per_token")
IGNORED = ("WANDB_SILENT", "WANDB_QUIET", "WANDB_CONSOLE", "WANDB_DISABLE_GIT", "WANDB_RESUME", "WANDB_DISABLED")
"""Variables of W&B which the logger's own settings replace; the library reads the others itself."""
UPLOAD_SECONDS = 30.0  # that the end of a run waits for; `wandb sync` sends the rest


class WandB(Group):
    """Logger choice `wandb`: a W&B run in the run's `wandb/`; nothing leaves the machine before `wandb sync`."""

    mode: Literal["offline", "online", "disabled"] = "offline"
    project: str = "smallgpt"
    entity: str | None = None
    """Account or team on W&B; null: the account's own."""
    group: str | None = None
    """Name that groups runs; null: that of the sweep's directory."""
    name: str | None = None
    """Name of the run; null: the variant and the run's directory."""
    job_type: str | None = None
    """Kind of run on W&B; null: the variant."""
    notes: str | None = None
    tags: tuple[str, ...] = ()
    dir: Path | None = None
    """Folder in whose `wandb/` W&B keeps its files; null: the run's directory."""

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
        from smallgpt.models.cost import cost

        say_of_variables(self.mode, sweep_of(run_dir))
        options = {
            "mode": self.mode,
            "project": self.project,
            "entity": self.entity,
            "group": self.group or sweep_of(run_dir),
            "job_type": self.job_type or settings.variant,
            "name": self.name or f"{settings.variant}-{run_dir.name}",
            "notes": self.notes,
            **({"dir": self.dir} if self.dir else {}),
            "tags": self.tags,
            "config": {
                **{key: value for key, value in settings.plain.items() if key not in NOT_SENT},
                "cost": {key: value for key, value in cost(settings.model).to_dict().items() if key in COSTS},
            },
        }
        return [WholeRun(run_dir, options)]


def say_of_variables(mode: str, sweep: str | None) -> None:
    """Says which WANDB_* variables are ignored, and whether a W&B sweep that started this run hears of it."""
    given = [name for name in (*IGNORED, *(["WANDB_RUN_ID"] if sweep else [])) if name in os.environ]
    if given:
        say(f"{', '.join(given)}: ignored; logger=wandb is quiet, sends nothing of the machine, and has ids of its own")
    if "WANDB_SWEEP_ID" in os.environ and mode != "online":
        say(f"logger.mode={mode}: the W&B sweep that started this run hears nothing of it; logger.mode=online tells it")


class WholeRun(Logger):
    """W&B run that begins with the training, in the first process alone, and ends when the task does.

    Args:
        run_dir: keeps W&B's files and the run's id, so that a resumed run is the same run.
        options: of `wandb.init`.
    """

    def __init__(self, run_dir: Path, options: dict[str, Any]) -> None:
        super().__init__()
        self.run_dir = run_dir
        self.options = options
        self.step = 0
        self._run: Any = None
        self._lost = False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._run is None:
            wandb = imported_wandb()
            quiet = wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                x_disable_meta=True,  # user, command line, paths
                x_disable_machine_info=True,
                x_disable_stats=True,
                finish_timeout=UPLOAD_SECONDS,
            )
            place = {"id": self._id(), "resume": "allow", "reinit": "create_new"}
            try:
                options = {"dir": self.run_dir, **self.options}
                Path(options["dir"]).mkdir(parents=True, exist_ok=True)  # of a missing one W&B would take /tmp
                self._run = wandb.init(**options, **place, settings=quiet)
            except wandb.Error as error:
                reason = f"W&B began no run ({type(error).__name__})"
                advice = "check logger.entity and the network, or use logger.mode=offline and `wandb sync`"
                raise UserError(f"logger.mode={self.options['mode']}: {reason}; {advice}") from error
            self._run.define_metric(X_AXIS)
            self._run.define_metric("*", step_metric=X_AXIS)
        return self._run

    def _id(self) -> str:
        path = self.run_dir / ID_FILE
        if not path.exists():
            given = os.environ.get("WANDB_RUN_ID") if sweep_of(self.run_dir) is None else None  # from `wandb agent`
            write_text(path, given or secrets.token_hex(4))  # `random` is seeded
        return path.read_text().strip()

    @property
    def name(self) -> str:
        return "wandb"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Logs nothing: the run begins with its config."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        # rows of one step become one; those that a resumed run repeats are dropped
        self.step = step or 0
        with self._surviving():
            self.experiment.log({"step": step, **metrics}, step=step)

    def log_kept(self, rows: list[dict[str, float]]) -> None:
        """Logs the rows of the checkpoint that a run goes on from: the file of a killed run may hold none of them."""
        for row in rows:
            self.log_metrics({name: value for name, value in row.items() if name != "step"}, int(row["step"]))

    def log_scores(self, scores: dict[str, dict[str, Any]]) -> None:
        """The result's scores by split as summary values: they are of more documents than the curve's last point."""
        with self._surviving():
            for split, values in scores.items():
                for name in ("loss", "perplexity", "bits_per_byte"):
                    self.experiment.summary[f"result/{split}/{name}"] = values[name]

    def log_samples(self, texts: list[str]) -> None:
        with self._surviving():
            table = imported_wandb().Table(columns=["text"], data=[[text] for text in texts])
            self.experiment.log({"samples": table}, step=self.step)

    def log_evaluation(self, section: dict[str, Any], items: dict[str, list[dict[str, Any]]]) -> None:
        """Logs numbers as summary values, and the items of each task as a table with the model's choice."""
        from smallgpt.results import evaluation_numbers

        with self._surviving():
            for label, scores in evaluation_numbers(section).items():
                for measure, value in scores.items():
                    self.experiment.summary[f"evaluation/{in_key(label)}/{measure}"] = value
            tables = {f"evaluation/{in_key(label)}": item_table(rows) for label, rows in items.items() if rows}
            if tables:
                self.experiment.log(tables, step=self.step)

    def end(self, failed: bool) -> None:
        if self._run is not None:
            with self._surviving():
                self._run.finish(exit_code=int(failed))
            self._run = None

    @contextmanager
    def _surviving(self) -> Generator[None]:
        """Context in which an error of W&B does not end the run, since it is only a view."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            if not self._lost:
                print(f"warning: the run goes on without W&B ({type(error).__name__})", file=sys.stderr, flush=True)
            self._lost = True


def in_key(label: str) -> str:
    """Label as a part of a key: W&B finds keys of letters, digits and underscores, and groups them by the slash."""
    return re.sub(r"\W+", "_", label).strip("_")


def item_table(rows: Sequence[dict[str, Any]]) -> Any:
    """Table with a row per item: `choice` and `right` are options, `correct` says whether they are the same."""
    columns = ["id", "options", "right", "choice", "correct", "loglikelihoods"]
    data = []
    for row in rows:
        options = row["options"]
        loglikelihoods = ", ".join(f"{value:.2f}" for value in row["loglikelihoods"])
        right, choice = row["gold"], row["choice"]
        data.append([row["id"], "\n".join(options), options[right], options[choice], choice == right, loglikelihoods])
    return imported_wandb().Table(columns=columns, data=data)


def sweep_of(run_dir: Path) -> str | None:
    """The name of the sweep's directory that a job's directory is in; None for a single run."""
    return next((folder.name for folder in run_dir.absolute().parents if (folder / "multirun.yaml").exists()), None)


def imported_wandb() -> Any:
    """The library, which reports errors and its own usage to its makers only where the environment asks for that."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    return wandb
