"""Data sets of the harness's tasks out of a folder of files, for machines without a network.

A task's split is looked for by name in the whole folder: `arc_easy_validation.jsonl` for the split `validation` of the
task `arc_easy`, also as .json, .csv, .parquet or compressed, with the hub's columns. A snapshot of the hub
(`datasets--owner--name`) is read too.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets

from smallgpt.errors import UserError, one_line

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".csv", ".parquet")
PUBLISHED = {  # names under which data is published by its authors, other than on the hub
    "jannalu/crows_pairs_multilingual": "crows_pairs_anonymized",
    "truthfulqa/truthful_qa": "truthfulqa",
    "nyu-mll/blimp": "{name}",
}


class LocalData:
    """Index of the files under `eval.data_dir`."""

    def __init__(self, folder: Path):
        """Raises UserError: no such folder."""
        self.folder = folder.expanduser()
        if not self.folder.is_dir():
            raise UserError(f"eval.data_dir={folder}: no such folder")
        self.files = {path.name: path for path in sorted(self.folder.rglob("*"), reverse=True) if path.is_file()}

    def redirect(self, config: dict[str, Any], num_fewshot: int) -> dict[str, Any]:
        """Changes a task's configuration so that its data comes from this folder.

        Raises:
            UserError: a file is missing; the message has its name.
        """
        task = config["task"]
        # an official test split is often without labels or without a local copy: what there is decides
        splits = [name for name in (config.get("test_split"), config.get("validation_split")) if name]
        found = {name: paths for name in splits if (paths := self._find(config, name))}
        if not found:
            names = " or ".join(f"{task}_{name}.jsonl" for name in splits)
            raise UserError(
                f"eval.data_dir={self.folder}: no data for {task}; looked for {names} "
                f"(also {', '.join(SUFFIXES[1:])}), with the columns of the hub's {config['dataset_path']}"
            )
        shots = config.get("fewshot_split") or config.get("training_split")
        if shots and shots not in found and (paths := self._find(config, shots)):
            found[shots] = paths
        if num_fewshot and shots and shots not in found and config.get("num_fewshot") != 0:
            raise UserError(
                f"eval.num_fewshot={num_fewshot}: no examples for {task} in eval.data_dir={self.folder}; "
                f"looked for {task}_{shots}.jsonl"
            )
        local = dict(config)
        for key in ("test_split", "validation_split", "training_split", "fewshot_split"):
            if local.get(key) not in found:
                local[key] = None
        adapt = ADAPTED.get(config["dataset_path"], lambda row: row)
        local["dataset_kwargs"] = None
        local["metadata"] = {key: value for key, value in (config.get("metadata") or {}).items() if key == "version"}
        local["custom_dataset"] = lambda **_: {name: read_local_data(paths, adapt) for name, paths in found.items()}
        return local

    def _find(self, config: dict[str, Any], split: str) -> list[Path]:
        """The files of a split; none if there are none."""
        task, dataset, name = config["task"], config["dataset_path"], config.get("dataset_name") or ""
        last = dataset.rpartition("/")[2]
        stems = [f"{task}_{split}", f"{last}_{split}", f"{name}_{split}"]
        stems += [f"{task}_{split.removesuffix('_' + task.rpartition('_')[2])}"]  # anli_r1_dev of anli_r1's dev_r1
        if dataset in PUBLISHED:
            stems.append(PUBLISHED[dataset].format(name=name))
        for stem in stems:
            for suffix in SUFFIXES:
                if path := self.files.get(stem + suffix):
                    return [path]
        for snapshot in sorted(self.folder.glob(f"**/datasets--{dataset.replace('/', '--')}/snapshots/*")):
            paths = sorted(snapshot.rglob(f"{split}-*.parquet"))
            return [path for path in paths if not name or name in (path.parent.name, "default")] or paths
        return []


def read_local_data(paths: list[Path], adapt: Callable[[dict[str, Any]], dict[str, Any]]) -> datasets.Dataset:
    """Reads the rows of JSON, CSV or Parquet files. Raises UserError where a file is not what its name says."""
    names: list[Any] = [str(path) for path in paths]
    make: Callable[..., Any] = datasets.Dataset.from_json
    if names[0].endswith(".csv"):
        make = datasets.Dataset.from_csv
    elif names[0].endswith(".parquet"):
        make = datasets.Dataset.from_parquet
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:  # not into the user's cache, which never forgets
        try:
            rows = make(names, cache_dir=cache, keep_in_memory=True)
        except Exception as error:  # of pandas, pyarrow and json alike
            raise UserError(f"{names[0]}: cannot be read ({one_line(error)})") from error
        return rows.map(adapt, keep_in_memory=True)


def with_context_parts(row: dict[str, Any]) -> dict[str, Any]:
    """Splits `ctx` of a row of HellaSwag's cleaned text into the `ctx_a` and `ctx_b` that the harness joins.

    `ctx_b` is the sentence that the endings complete; of a context that ends with a sentence it is empty.
    """
    if row.get("ctx_a") is not None:
        return row
    words = row["ctx"].split(" ")
    ends = [i for i, word in enumerate(words) if word.rstrip("\"')]").endswith((".", "!", "?"))]
    cut = ends[-1] + 1 if ends else 0
    return {**row, "ctx_a": " ".join(words[:cut]), "ctx_b": " ".join(words[cut:])}


def with_targets(row: dict[str, Any]) -> dict[str, Any]:
    """Makes a TruthfulQA row from the authors' table of best, correct and incorrect answers."""
    if "Question" not in row:
        return row
    answers = {
        key: [answer.strip() for answer in str(row[key] or "").split(";") if answer.strip()]
        for key in ("Best Answer", "Correct Answers", "Incorrect Answers")
    }
    wrong, best, right = answers["Incorrect Answers"], [str(row["Best Answer"]).strip()], answers["Correct Answers"]
    return {
        "question": row["Question"],
        "mc1_targets": {"choices": best + wrong, "labels": [1] + [0] * len(wrong)},
        "mc2_targets": {"choices": right + wrong, "labels": [1] * len(right) + [0] * len(wrong)},
    }


ADAPTED = {"Rowan/hellaswag": with_context_parts, "truthfulqa/truthful_qa": with_targets}
