"""Run directory: what a run leaves behind, config.yaml and result.json, each written whole or not at all."""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from smallgpt.config_yaml import from_yaml, to_yaml
from smallgpt.errors import UserError, one_line, shown
from smallgpt.files import write_text
from smallgpt.results import read_result
from smallgpt.settings import Settings
from smallgpt.settings.proof_of_concept import DECIDING

# where a run writes, what is asked of it and how it is shown is not what it is
LOCATION_KEYS = {"study", "cache_dir", "resume", "logger", "sweep", "baseline", "label", "tune", "dry_run", "question"}
OF_HARDWARE = ("accelerator", "devices", "num_nodes", "strategy", "threads", "workers", "deterministic", "timeout")
HARDWARE_KEYS = {f"trainer.{key}" for key in OF_HARDWARE} | {"compile"}  # whose null is another choice on a GPU
SPEED_KEYS = HARDWARE_KEYS | {"trainer.profile", "batch.micro"}  # equal numbers, to rounding
OTHERS = {"poc.models", "poc.pretrained"}  # which other candidates there are
DECISION = {f"poc.{key}" for key in DECIDING}  # by which a report decides, of what was measured
MAY_DIFFER = HARDWARE_KEYS | OTHERS | DECISION | {"log_every"}  # between the parts of a run
IN_WHAT_FOLLOWS = {"validation.every"}  # may differ between the parts of a run, not from one that is completed
OF_A_MODEL = ("model", "size", "block", "match", "tokenizer")  # groups that a training from a checkpoint does not ask
OF_A_SIZE = ("n_layer", "n_head", "n_embd", "block_size", "vocab_size")  # fields of a model that size= brings
LEFT_OUT = "left_out.json"  # at the top of a sweep: combinations that make no model
UNWRITABLE = "unwritable.json"  # beside it: results of jobs whose own directory could not hold them
AT_WORK = ".at_work"  # beside it: written again and again while a process runs its jobs, for who watches them
STATE = Path("checkpoints", "last.ckpt")
RUN_ENTRIES = ("config.yaml", "result.json", "metrics.csv", "checkpoints", "evaluation", "hf", "onnx", "trace.json")
SWEEP_ENTRIES = (
    "multirun.yaml",
    "results.csv",
    "results.md",
    "table.tex",
    "results.json",
    "candidates.csv",
    "report.html",
    "loss.png",
    "figures",
    "study.log",
    LEFT_OUT,
)


def claim(run_dir: Path, key: str = "hydra.run.dir") -> list[Path]:
    """Makes a run directory, proves that it can be written, and returns what was made, outermost first.

    Raises:
        UserError: it cannot be written; then nothing is left behind.
    """
    made = [path for path in (*reversed(run_dir.absolute().parents), run_dir) if not path.exists()]
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=run_dir).close()
    except OSError as error:
        release(made)
        raise UserError(f"{key}={cannot_be_written(run_dir, error)}; choose another directory") from error
    return made


def refuse_foreign(run_dir: Path, key: str = "hydra.run.dir") -> None:
    """Raises UserError where a run would write over what no run has made."""
    try:
        run_dir.exists()
    except OSError as error:  # a name that no folder can have
        raise UserError(f"{key}={shown(run_dir)}: {error.strerror}; choose another directory") from error
    held = next((name for name in RUN_ENTRIES if os.path.lexists(run_dir / name)), None)
    if held and not is_run(run_dir):
        raise UserError(
            f"{key}={run_dir}: holds a {held} that is not a run's and would be written over; choose another directory"
        )


def refuse_foreign_sweep(sweep_dir: Path) -> None:
    """Raises UserError where a sweep would write over what no sweep has made."""
    held = next((name for name in SWEEP_ENTRIES if os.path.lexists(sweep_dir / name)), None)
    if held is None or any(is_run(path) for path in sweep_dir.iterdir() if path.is_dir()):
        return
    try:
        known = "hydra" in OmegaConf.load(sweep_dir / "multirun.yaml")
    except Exception:  # there is none, or it is another kind of file
        known = False
    if not known:
        raise UserError(
            f"hydra.sweep.dir={sweep_dir}: holds a {held} that is not a sweep's and would be written over; "
            "choose another directory"
        )


def is_run(run_dir: Path) -> bool:
    """Whether a run has made a directory, however far it came."""
    if (run_dir / ".job.json").exists() or "status" in (read_result(run_dir) or {}):
        return True
    try:
        plain = config_of_run(run_dir)
    except UserError:
        return False
    return isinstance(plain.get("task"), dict) and "cache_dir" in plain


def sweep_of(run_dir: Path) -> Path | None:
    """The sweep's directory that a job's directory is in; None for a single run."""
    return next((folder for folder in run_dir.absolute().parents if (folder / "multirun.yaml").exists()), None)


def cannot_be_written(run_dir: Path, error: OSError) -> str:
    """Message of a directory that takes no files: its disk is full or read-only, or something else lies there."""
    return f"{run_dir}: cannot be written ({error.strerror or error})"


def read_unwritable(sweep_dir: Path) -> dict[str, dict[str, Any]]:
    """Results of the jobs of a sweep whose own directory could not hold them, by the directory's name."""
    try:
        record = json.loads((sweep_dir / UNWRITABLE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def refuse_taken(run_dir: Path, resume: str | None) -> None:
    """Raises UserError for a directory that holds a run which this one would overwrite."""
    if (read_result(run_dir) or {}).get("status") == "completed" and resume != "extend":
        raise UserError(
            f"hydra.run.dir={run_dir}: holds a completed run; choose another directory, or resume=extend with a larger "
            "budget"
        )
    if resume is None and (run_dir / "result.json").exists() and read_result(run_dir) is None:
        raise UserError(f"hydra.run.dir={run_dir}: its result.json is damaged; remove it, or choose another directory")
    if resume is None and (run_dir / STATE).exists():
        raise UserError(f"hydra.run.dir={run_dir}: holds a run that was cut off; resume=auto goes on with it")


def refuse_other_config(run_dir: Path, settings: Settings, key: str = "hydra.run.dir") -> None:
    """Raises UserError where a run that is completed, or has a checkpoint, was begun with another config."""
    path = run_dir / "config.yaml"
    completed = (read_result(run_dir) or {}).get("status") == "completed"
    begun = (run_dir / STATE).exists() or completed
    if not begun or not path.exists():
        return
    before, now = (flat(movable(plain, run_dir)) for plain in (config_of_run(run_dir), settings.plain))
    extended = settings.resume == "extend"
    groups = LOCATION_KEYS | ({"budget"} if extended else set())
    free = MAY_DIFFER | (IN_WHAT_FOLLOWS if extended or not completed else set())
    for name in (*now, *before):
        if name.partition(".")[0] not in groups and name not in free and before.get(name) != now.get(name):
            old, new = (values.get(name, "absent") for values in (before, now))
            raise UserError(f"{key}={run_dir}: was begun with {name}={old}, not {new}; choose another directory")
    refuse_other_size(run_dir, settings.model, key)


def movable(plain: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """A config whose checkpoints are named from the run's own directory where they lie beside it.

    So do those of a run's stages, and the config is then the same wherever the directory of all of them is moved to.
    """
    checkpoints = plain.get("checkpoint")
    if not isinstance(checkpoints, list):
        return plain
    beside = run_dir.absolute().parent
    return plain | {
        "checkpoint": [
            os.path.relpath(path, run_dir) if Path(path).is_absolute() and beside in Path(path).parents else path
            for path in checkpoints
        ]
    }


def refuse_other_size(run_dir: Path, model: Any, key: str) -> None:
    """Raises UserError where a run was begun with another size than `match` now comes to.

    What match=latency measures again, elsewhere or after its cache was lost, may come to another size.
    """
    try:
        begun = json.loads((run_dir / "checkpoints" / "last" / "config.json").read_text())
    except (OSError, ValueError):  # what is damaged is refused when it is loaded
        return
    for name in ("n_embd", "n_layer"):
        own = getattr(model, name, None)  # a model of transformers' own calls it otherwise
        if own is not None and begun.get(name, own) != own:
            raise UserError(
                f"{key}={run_dir}: was begun with {name}={begun[name]}, and match now comes to "
                f"{getattr(model, name)}; choose another directory"
            )


def refuse_removed(run_dir: Path) -> None:
    """Raises UserError where the directory was removed while its run worked: what is there now is not the run."""
    if not (run_dir / "config.yaml").exists():
        raise UserError(removed(run_dir))


def removed(run_dir: Path) -> str:
    """Message of a run whose directory is gone."""
    return f"{run_dir}: was removed while the run worked, and what it had written is lost"


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Flattens nested groups to dotted keys."""
    if not isinstance(values, dict):
        return {prefix[:-1]: values}
    return {name: leaf for key, value in values.items() for name, leaf in flat(value, f"{prefix}{key}.").items()}


def release(made: list[Path]) -> None:
    """Removes directories that `claim` made, as far as they are empty."""
    for path in reversed(made):
        try:
            path.rmdir()
        except OSError:
            return


def write_config(run_dir: Path, plain: dict[str, Any]) -> None:
    """Writes config.yaml of a run, whole or not at all."""
    write_text(run_dir / "config.yaml", to_yaml(plain))


def config_of_run(run_dir: Path) -> dict[str, Any]:
    """Reads config.yaml of a run as plain values; `${...}` in it is text, for everything was resolved before.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = run_dir / "config.yaml"
    try:
        plain = from_yaml(path.read_text(encoding="utf-8"))
    except Exception as error:  # of YAML, of the disk
        raise UserError(
            f"{path}: damaged ({shown(one_line(error))}); remove it, or choose another directory"
        ) from error
    if not isinstance(plain, dict):
        raise UserError(f"{path}: damaged (no keys in it); remove it, or choose another directory")
    return {str(key): value for key, value in plain.items()}


def result_header(settings: Settings, choices: dict[str, str]) -> dict[str, Any]:
    """Sections that every result begins with."""
    return {
        "task": settings.task_name,
        "variant": settings.variant,
        "choices": {
            group: name
            for group, name in choices.items()
            if not settings.origin or group not in OF_A_MODEL or group in settings.chosen
        },
        "overrides": list(settings.overrides),
        "seed": settings.seed,
        **({"question": settings.question} if settings.question else {}),
        "config_hash": config_hash(settings.plain),
    }


def config_hash(plain: dict[str, Any]) -> str:
    """Hash of a config, the same for runs that differ only in where they write and how they are shown."""
    what = {key: value for key, value in plain.items() if key not in LOCATION_KEYS}
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()
