"""What a sweep ends with: a table, results.csv and loss.png, from the jobs' result.json and metrics.csv alone."""

import csv
import io
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from smallgpt.launch.command_line import announce
from smallgpt.reporting.figures import draw_loss
from smallgpt.reporting.tables import print_table
from smallgpt.run_directory import read_result, write_text

SECTIONS = ("cost", "train", "val", "data")


class SweepReport(Callback):
    """Reports a sweep and ends the process with 1 unless every job is completed, or pruned by a search."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        sweep_dir = Path(config.hydra.sweep.dir)
        results = read_results(sweep_dir)
        report(sweep_dir, results)
        completed = sum(result["status"] == "completed" for result in results.values())
        pruned = sum(result["status"] == "pruned" for result in results.values())
        done = bool(results) and completed + pruned == len(results)
        announce(
            {
                "status": "completed" if done else "failed",
                "jobs": len(results),
                "completed": completed,
                **({"pruned": pruned} if pruned else {}),
                "results": sweep_dir / "results.csv",
            }
        )
        if not done:
            raise SystemExit(1)


def read_results(sweep_dir: Path) -> dict[str, dict[str, Any]]:
    """The results by the name of their folder, in the order of their numbers."""
    folders = [path.parent for path in sweep_dir.glob("*/result.json")]
    folders.sort(key=lambda path: (len(path.name), path.name))
    found = {path.name: read_result(path) for path in folders}
    return {name: result for name, result in found.items() if result is not None}


def report(sweep_dir: Path, results: dict[str, dict[str, Any]]) -> None:
    varied = differences(results)
    columns = ("job", "variant", *varied, "status", "parameters", "tokens", "tokens/s")
    scores = ("validation loss", "perplexity", "bits per byte")
    rows = []
    for name, result in results.items():
        cost, train, val = (result.get(section, {}) for section in ("cost", "train", "val"))
        rows.append(
            (
                name,
                result.get("variant"),
                *[overrides(result).get(key) for key in varied],
                result["status"],
                cost.get("parameters"),
                train.get("tokens", cost.get("tokens")),
                round(train["tokens_per_second"]) if train else None,
                *[fixed(val.get(key)) for key in ("loss", "perplexity", "bits_per_byte")],
            )
        )
    write_csv(sweep_dir / "results.csv", results)
    draw_loss(labels(results, varied, sweep_dir), sweep_dir / "loss.png")
    if rows:
        print_table(str(sweep_dir), (*columns, *scores), rows)
    if len({result.get("data_fingerprint") for result in results.values()} - {None}) > 1:
        print("The jobs differ in their data: compare bits per byte, and only of the same text.")
    for name, result in results.items():
        if result.get("error"):
            print(f"job {name} {result['status']}: {result['error']}")


def labels(results: dict[str, dict[str, Any]], varied: list[str], sweep_dir: Path) -> dict[str, Path]:
    """Run directories by what tells them apart."""
    names = {
        name: [f"{name} {result.get('variant')}", *[f"{key}={overrides(result).get(key)}" for key in varied]]
        for name, result in results.items()
    }
    return {" ".join(words): sweep_dir / name for name, words in names.items()}


def overrides(result: dict[str, Any]) -> dict[str, str]:
    pairs = [text.lstrip("+~").partition("=") for text in result.get("overrides", [])]
    return {key: value for key, _, value in pairs}


def differences(results: dict[str, dict[str, Any]]) -> list[str]:
    """The keys of the command line whose value is not the same in all jobs; the variant has its column."""
    given = [overrides(result) for result in results.values()]
    keys = dict.fromkeys(key for values in given for key in values if key != "model")
    return [key for key in keys if len({values.get(key) for values in given}) > 1]


def write_csv(path: Path, results: dict[str, dict[str, Any]]) -> None:
    """One row a job, every number of its sections under `section/name`."""
    rows = [{"job": name, **flat(result)} for name, result in results.items()]
    columns = dict.fromkeys(key for row in rows for key in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def flat(result: dict[str, Any]) -> dict[str, Any]:
    row = {key: value for key, value in result.items() if not isinstance(value, dict | list)}
    row["overrides"] = " ".join(result.get("overrides", []))
    for section in SECTIONS:
        for key, value in result.get(section, {}).items():
            if not isinstance(value, dict | list):
                row[f"{section}/{key}"] = value
    return row


def fixed(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"
