"""One W&B run, a view of a run of ours; the record of it is in the run directory."""

import os
import secrets
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment

from smallgpt.errors import UserError
from smallgpt.files import write_text
from smallgpt.notices import say
from smallgpt.packages import imported_wandb
from smallgpt.results import evaluation_keys, in_key
from smallgpt.run_directory import sweep_of
from smallgpt.training.sent_config import without_folders

ID_FILE = "wandb_id.txt"  # in the run directory: the id of its W&B run
AXES = ("tokens", "flops", "seconds", "step")  # no charts of their own
UPLOAD_SECONDS = 30.0  # that the end of a run waits for; `wandb sync` sends the rest
STATISTICS_SECONDS = 60.0  # between two samples of the machine's use: a shorter run has no curve of it
LAYERS = ("label", "group", "in_width", "out_width", "n_head", "mlp_width", "parameters")
SCORES = ("loss", "perplexity", "bits_per_byte", "accuracy", "macro_f1", "matthews", "calibration_error")
SCORES += ("exact_match", "f1", "rouge1", "rouge2", "rougeL", "bleu")
TRAINING = ("tokens", "steps", "seconds", "tokens_per_second", "mfu", "peak_memory_bytes")


@dataclass(frozen=True)
class Extras:
    """Settings of a W&B run beside those of `wandb.init`."""

    x_axis: str = AXES[0]
    watch: str | None = None
    """Tensors whose histograms are logged: gradients, parameters or all."""
    log_model: str | None = None
    """Checkpoint that becomes an artifact."""
    alert: bool = False


class WholeRun(Logger):
    """W&B run that begins with the training, in the first process alone, and ends when the task does.

    Args:
        run_dir: keeps the run's id, so that a resumed run is the same run.
        options: of `wandb.init`.
        extras: what else is logged.
    """

    def __init__(self, run_dir: Path, options: dict[str, Any], extras: Extras | None = None) -> None:
        super().__init__()
        self.run_dir = run_dir
        self.options = options
        self.extras = extras or Extras()
        self.step = 0
        self.losses: dict[int, float] = {}
        """Validation losses so far, by step."""
        self._run: Any = None
        self._model: Any = None
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
                x_stats_sampling_interval=STATISTICS_SECONDS,
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
            for name in dict.fromkeys((self.extras.x_axis, *AXES)):
                self._run.define_metric(name, hidden=True)
            self._run.define_metric("*", step_metric=self.extras.x_axis)
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

    def begin(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Begins the run, says where it can be looked at, and returns that as the section `wandb` of a result.

        Args:
            facts: more of the config than was known when the run was made.
        """
        run = self.experiment
        with self._surviving():
            run.config.update(without_folders(dict(facts)), allow_val_change=True)
        folder = Path(self.options.get("dir", self.run_dir)) / "wandb"
        offline = f"`wandb leet {folder}` shows it, `wandb sync {folder}/offline-run-*` sends it"
        url = None if self.options["mode"] == "offline" else run.url  # offline the library warns that there is none
        say(f"W&B run {run.name}: {url or offline}")
        return {"id": run.id, "name": run.name, "group": run.group or None, "url": url, "folder": folder}

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Logs nothing: the run begins with its config."""

    def log_graph(self, model: Any, *_: Any) -> None:
        """Remembers the model that is about to be trained, for its histograms."""
        self._model = model

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        # rows of one step become one; those that a resumed run repeats are dropped
        self.step = step or 0
        if "val/loss" in metrics:
            self.losses[self.step] = metrics["val/loss"]
        with self._surviving():
            self.experiment.log({"step": step, **metrics, **self._histograms(metrics)}, step=step)

    def _histograms(self, metrics: Mapping[str, float]) -> dict[str, Any]:
        """Histograms of the step that was just done; the library's own hooks would log them to the row before."""
        if self._model is None or self.extras.watch is None or "train/loss" not in metrics:
            return {}
        tensors = {}
        for name, weight in self._model.named_parameters():
            name = name.removeprefix("model.")
            if self.extras.watch != "gradients":
                tensors[f"parameters/{name}"] = weight
            if self.extras.watch != "parameters" and weight.grad is not None:
                tensors[f"gradients/{name}"] = weight.grad
        histogram = imported_wandb().Histogram
        return {key: histogram(tensor.detach().float().cpu().numpy()) for key, tensor in tensors.items()}

    def log_kept(self, rows: list[dict[str, float]]) -> None:
        """Logs the rows of the checkpoint that a run goes on from: the file of a killed run may hold none of them."""
        for row in rows:
            self.log_metrics({name: value for name, value in row.items() if name != "step"}, int(row["step"]))

    def log_result(self, sections: Mapping[str, Any]) -> None:
        """Logs a result as summary values and tables; its scores are of more documents than the curve's last point."""
        cost, train = sections.get("cost") or {}, sections.get("train") or {}
        found = {f"result/{key}": train[key] for key in TRAINING if train.get(key) is not None}
        for split in ("val", "test"):
            scores = sections.get(split) or {}
            found |= {f"result/{split}/{name}": scores[name] for name in SCORES if name in scores}
        found |= {f"parameters/{in_key(group)}": n for group, n in (cost.get("parameters_by_group") or {}).items()}
        layers = [[part.get(key) for key in LAYERS] for part in cost.get("layout") or ()]
        samples = [[text] for text in sections.get("samples") or ()]
        with self._surviving():
            self.experiment.summary.update(found)
            tables = {"samples": (["text"], samples), "layers": (list(LAYERS), layers)}
            # not as history: W&B would chart the numbers of their rows
            self.experiment.summary.update({key: table(names, rows) for key, (names, rows) in tables.items() if rows})

    def log_evaluation(self, section: dict[str, Any], items: dict[str, list[dict[str, Any]]]) -> None:
        """Logs numbers as summary values, and the items of each task as a table with the model's choice."""
        with self._surviving():
            self.experiment.summary.update(evaluation_keys(section))
            tables = {f"evaluation/{in_key(label)}": item_table(rows) for label, rows in items.items() if rows}
            self.experiment.summary.update(tables)

    @property
    def wants(self) -> str | None:
        """Folder of the run's checkpoints that becomes an artifact."""
        return self.extras.log_model

    def log_checkpoint(self, folder: Path, card: str) -> None:
        """Keeps a model folder as an artifact of the run, with its card as README.md."""
        with self._surviving():
            wandb, run = imported_wandb(), self.experiment
            artifact = wandb.Artifact(f"model-{run.id}", type="model", description=card)
            for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "README.md"):
                artifact.add_file(str(path), path.relative_to(folder).as_posix())  # add_dir prints
            with artifact.new_file("README.md", mode="w", encoding="utf-8") as file:
                file.write(card)
            run.log_artifact(artifact, aliases=[folder.name])

    def end(self, failure: str | None = None) -> None:
        """Ends the run; one that failed says why."""
        if self._run is not None:
            with self._surviving():
                self._run.summary.update(self._best_and_last())
                if failure is not None:
                    reason = without_folders(failure)
                    self._run.summary["error"] = reason
                    if self.extras.alert:
                        title = f"{self.options.get('name') or self._run.id} failed"
                        self._run.alert(title[:63], reason, level="ERROR")
                self._run.finish(exit_code=int(failure is not None))
            self._run = None

    def _best_and_last(self) -> dict[str, float]:
        if not self.losses:
            return {}
        best, last = min(self.losses, key=lambda step: self.losses[step]), max(self.losses)
        return {
            "best/val/loss": self.losses[best],
            "best/step": best,
            "last/val/loss": self.losses[last],
            "last/step": last,
        }

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


def table(columns: list[str], rows: list[list[Any]]) -> Any:
    """Table that W&B shows."""
    return imported_wandb().Table(columns=columns, data=rows)


def item_table(rows: Sequence[dict[str, Any]]) -> Any:
    """Table with a row per item: `choice` and `right` are options, `correct` says whether they are the same."""
    data = []
    for row in rows:
        options = row["options"]
        loglikelihoods = ", ".join(f"{value:.2f}" for value in row["loglikelihoods"])
        right, choice = row["gold"], row["choice"]
        data.append([row["id"], "\n".join(options), options[right], options[choice], choice == right, loglikelihoods])
    return table(["id", "options", "right", "choice", "correct", "loglikelihoods"], data)
