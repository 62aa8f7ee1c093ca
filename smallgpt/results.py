"""The record of a run, result.json and metrics.csv: how it is written, read, and added to."""

import csv
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from smallgpt.files import write_text


def write_result(run_dir: Path, result: dict[str, Any]) -> None:
    """Writes result.json of a run, whole or not at all."""
    write_text(run_dir / "result.json", json.dumps(plain_json(result), indent=2) + "\n")


WEIGHTS_RECORD = "weights.json"


def write_weights_record(folder: Path, step: int, val_loss: float) -> None:
    """Writes beside the weights of a run which they are: the best or the last, of which step."""
    write_text(folder / WEIGHTS_RECORD, json.dumps({"step": step, "val_loss": val_loss}) + "\n")


def read_weights_record(folder: Path) -> dict[str, Any]:
    """Reads which weights of a run a folder of its `checkpoints/` holds, and their loss; empty for any other folder."""
    try:
        record = json.loads((folder / WEIGHTS_RECORD).read_text(encoding="utf-8"))
        return {"checkpoint": folder.name, "step": int(record["step"]), "val_loss": float(record["val_loss"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


TRAINED = ("train", "finetune")
"""Tasks whose runs leave a trained model."""


def read_result(run_dir: Path) -> dict[str, Any] | None:
    """Reads result.json of a run; None where it is missing or damaged."""
    try:
        result = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return plain_json(result) if isinstance(result, dict) else None


TEXTS = ("status", "error", "task", "variant", "data_fingerprint", "question", "config_hash")
RESULT_SECTIONS = (
    "cost",
    "match",
    "latency",
    "forecast",
    "train",
    "val",
    "best",
    "test",
    "data",
    "inference",
    "evaluation",
    "poc",
    "choices",
    "environment",
)
NUMBERS = {
    *("parameters", "tokens", "steps", "step", "seconds", "tokens_per_second", "epochs", "documents", "bytes"),
    *("loss", "val_loss", "perplexity", "bits_per_byte", "training_flops_per_token", "training_flops"),
}


def damage(run_dir: Path) -> str | None:
    """What is wrong with result.json or metrics.csv of a run, which a report then leaves out; None: nothing."""
    path = run_dir / "result.json"
    if path.exists():
        result = read_result(run_dir)
        if result is None:
            return "result.json is damaged: no JSON object"
        if (where := misplaced(result)) is not None:
            return f"result.json is damaged: {where} is of another kind"
    try:
        validations(run_dir)
    except (OSError, ValueError, csv.Error) as error:
        return f"metrics.csv is damaged: {error}"
    return None


def misplaced(result: dict[str, Any]) -> str | None:
    """The first entry of a result that is not of the kind that a run writes."""
    for name in TEXTS:
        if not isinstance(result.get(name), str | None):
            return name
    if not isinstance(result.get("seed"), int | None):
        return "seed"
    words = result.get("overrides", [])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return "overrides"
    for name in RESULT_SECTIONS:
        section = result.get(name)
        if not isinstance(section, dict | None):
            return name
        for key, value in (section or {}).items():
            if key in NUMBERS and not isinstance(value, int | float | None):
                return f"{name}.{key}"
    return None


def plain_json(value: Any) -> Any:
    """Converts a value to what JSON can hold: NaN and infinity become null, paths become text."""
    if isinstance(value, dict):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def add_section(run_dir: Path, name: str, found: dict[str, Any], merge: Callable[..., dict[str, Any]]) -> None:
    """Adds what was found out later to the result of a run that made a model; does nothing elsewhere.

    Args:
        merge: makes the new section of the one that was there (empty where there was none) and of what was found.
    """
    if not (run_dir / "result.json").exists():
        return
    with FileLock(run_dir / ".result.lock"):
        result = read_result(run_dir)
        if result is not None and result.get("task") in (*TRAINED, "import"):
            write_result(run_dir, {**result, name: merge(result.get(name) or {}, found)})


def metric_rows(run_dir: Path) -> list[dict[str, float]]:
    """Rows of metrics.csv as numbers; what is no finite number is left out of them."""
    path = run_dir / "metrics.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {key: number for key, text in row.items() if (number := finite(text)) is not None}
            for row in csv.DictReader(file)
        ]


def validations(run_dir: Path) -> list[dict[str, float]]:
    """Rows of metrics.csv that have a validation loss."""
    return [row for row in metric_rows(run_dir) if "val/loss" in row]


def finite(text: str | None) -> float | None:
    """The number of a cell; None for an empty one, NaN, infinity, and what a killed run left half written."""
    try:
        number = float(text or "nan")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def evaluation_numbers(evaluation: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Every number of an evaluation by label and measure; a corpus with a task's name becomes `label (text)`."""
    tasks, corpora = evaluation.get("tasks", {}), evaluation.get("corpora", {})
    entries = {**tasks, **{f"{label} (text)" if label in tasks else label: entry for label, entry in corpora.items()}}
    if found := evaluation.get("continuations"):
        entries["continuations"] = found
    return {
        label: {key: +value for key, value in entry.items() if isinstance(value, int | float)}  # +: true is 1
        for label, entry in entries.items()
    }


def in_key(label: str) -> str:
    """Label as a part of a key: W&B finds keys of letters, digits and underscores, and groups them by the slash."""
    return re.sub(r"\W+", "_", label).strip("_")


def evaluation_keys(evaluation: dict[str, Any]) -> dict[str, float]:
    """Numbers of an evaluation under the keys that they have on W&B, such as `evaluation/piqa/accuracy`."""
    return {
        f"evaluation/{in_key(label)}/{measure}": value
        for label, scores in evaluation_numbers(evaluation).items()
        for measure, value in scores.items()
    }


def inference_numbers(inference: dict[str, Any]) -> dict[str, Any]:
    """Flattens a section `inference`: its own numbers, those of its text, and each kind's as `KIND/name`."""
    found = {key: value for key, value in inference.items() if not isinstance(value, dict | list)}
    if text := inference.get("text"):
        found |= {
            "text": text["name"],
            "documents": text["n"],
            **three(text, "bits_per_byte", "bits_per_byte_interval"),
        }
        if gap := text["difference"]:
            found |= {**three(gap, "difference", "interval"), "difference_over": gap["over"]}
    for kind, section in inference.get("kinds", {}).items():
        found |= {f"{kind}/{key}": value for key, value in inference_numbers(section).items()}
    return found


def three(found: dict[str, Any], key: str, interval: str) -> dict[str, float | None]:
    """Splits a measure with its interval into its value and the two ends."""
    low, high = found[interval] or (None, None)
    return {key: found[key], f"{key}_low": low, f"{key}_high": high}
