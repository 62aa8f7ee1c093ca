"""A user's own task: a file of JSON lines, read without any code and handed to the evaluation harness."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from smallgpt.data.formats import decompressed, is_compressed
from smallgpt.errors import UserError, nearest, one_line, shown
from smallgpt.files import nearest_beside

Kind = Literal["choice", "completion", "text", "label"]
KEYS: dict[Kind, tuple[str, ...]] = {  # a row is of the first kind whose keys it has
    "choice": ("prompt", "choices", "answer"),
    "completion": ("prompt", "completion"),
    "label": ("text", "label"),
    "text": ("text",),
}
# the harness's metrics: how it aggregates each, and whether more is better
ACCURACIES = {name: ("mean", True) for name in ("acc", "acc_norm", "acc_bytes")}
METRICS: dict[Kind, dict[str, tuple[str, bool]]] = {
    "choice": ACCURACIES,
    "label": ACCURACIES,
    "completion": {"perplexity": ("perplexity", False), "acc": ("mean", True)},
    "text": {"bits_per_byte": ("bits_per_byte", False), "byte_perplexity": ("weighted_perplexity", False)},
}
Function = Callable[[dict[str, Any]], Any]


@dataclass(frozen=True)
class Own:
    """A user's own task, read from a file."""

    name: str
    kind: Kind
    rows: list[dict[str, Any]]
    """Rows with the keys of the kind alone; an `answer` is an index."""
    lines: list[int]
    """Number of each row's line in the file, from 1."""

    @property
    def labels(self) -> list[str]:
        """Labels that the rows have, sorted."""
        return sorted({row["label"] for row in self.rows if "label" in row})


def read_own_task(path: Path) -> Own:
    """Reads a user's task from a file, also compressed; its first row decides of which kind all rows are.

    Raises UserError with the line of the first fault.
    """
    kind: Kind | None = None
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    for number, line in enumerate(_content(path).split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = _object(line)
            found = _kind(row)
            if found is None or found != (kind or found):
                raise UserError(_other_kind(row, found, kind))
            kind = found
            rows.append(CHECKS[kind](row))
        except UserError as error:
            raise UserError(f"eval.path={path} line {number}: {error}") from None
        lines.append(number)
    if kind is None:
        raise UserError(f"eval.path={path}: no rows; give one JSON object a line, with {_all_kinds()}")
    own = Own(Path(path.stem if is_compressed(path) else path.name).stem, kind, rows, lines)
    if kind == "label" and len(own.labels) < 2:
        raise UserError(f"eval.path={path}: '{shown(own.labels[0])}' is the only label; give rows of at least two")
    return own


def _content(path: Path) -> bytes:
    try:
        if not path.exists():
            raise UserError(f"eval.path={path}: no such file{nearest_beside(path)}")
        if path.is_dir():
            raise UserError(f"eval.path={path}: is a folder; give a file of JSON lines")
        with path.open("rb") as raw:
            return decompressed(raw, path).read().removeprefix(b"\xef\xbb\xbf")
    except Exception as error:  # the errors of gzip, zlib and zstandard share no base class
        if isinstance(error, UserError):
            raise
        raise UserError(f"eval.path={path}: cannot be read ({one_line(error)})") from None


def _object(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError:
        raise UserError("not UTF-8; save the file as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"not JSON ({one_line(error)}); give one object a line") from None
    if not isinstance(row, dict):
        raise UserError(f'{shown(row)} is not an object; give one a line, like {{"text": "..."}}')
    return row


def _kind(row: dict[str, Any]) -> Kind | None:
    return next((kind for kind, keys in KEYS.items() if row.keys() >= set(keys)), None)


def _other_kind(row: dict[str, Any], found: Kind | None, kind: Kind | None) -> str:
    """What is wrong with a row that is of no kind, or not of the file's."""
    if found and kind:
        return f"has {_listed(KEYS[found])}, but the rows before have {_listed(KEYS[kind])}; a file holds one kind"
    kinds = [KEYS[kind]] if kind else list(KEYS.values())
    shared = [len(row.keys() & set(keys)) for keys in kinds]
    wanted = [key for keys, n in zip(kinds, shared, strict=True) if n == max(shared) for key in keys if key not in row]
    for key in row:
        if hint := nearest(key, wanted):
            return f"unknown key '{shown(key)}'{hint}"
    if kind:
        return f"no '{wanted[0]}'; a row of this file has {_listed(KEYS[kind])}"
    return f"has {_listed([shown(key) for key in row]) or 'no keys'}; give {_all_kinds()}"


def _listed(words: Any) -> str:
    *most, last = words or [""]
    return f"{', '.join(most)} and {last}" if most else last


def _all_kinds() -> str:
    return ", or ".join(_listed(keys) for keys in KEYS.values())


def _choice(row: dict[str, Any]) -> dict[str, Any]:
    prompt, choices, answer = _prompt(row), row["choices"], row["answer"]
    if not isinstance(choices, list):
        raise UserError(f"choices={shown(choices)}: must be a list of texts")
    for number, choice in enumerate(choices):
        _text(f"choices[{number}]", choice)
    if len(choices) < 2:
        raise UserError(f"choices: {len(choices)}; give at least two")
    scored = [joined_option(prompt, choice) for choice in choices]
    if twice := [text for text in scored if scored.count(text) > 1]:
        raise UserError(f"choices: '{shown(twice[0])}' is there twice; take one away")
    last = len(choices) - 1
    if isinstance(answer, str):
        if answer not in choices:
            hint = nearest(shown(answer), map(shown, choices))
            raise UserError(
                f"answer={shown(answer)}: is none of the choices{hint or f'; or give its index, 0 to {last}'}"
            )
        answer = choices.index(answer)
    elif isinstance(answer, bool) or not isinstance(answer, int):
        raise UserError(f"answer={shown(answer)}: must be the index of a choice, 0 to {last}, or its text")
    elif not 0 <= answer <= last:
        raise UserError(f"answer={answer}: must be from 0 to {last}")
    return {"prompt": prompt, "choices": choices, "answer": answer}


def _completion(row: dict[str, Any]) -> dict[str, Any]:
    if row["prompt"] == "":
        raise UserError("prompt: is empty; rows with text alone measure text without a prompt")
    return {"prompt": _prompt(row), "completion": _text("completion", row["completion"])}


def _label(row: dict[str, Any]) -> dict[str, Any]:
    label = row["label"]
    if isinstance(label, int | float):
        raise UserError(f'label={shown(label)}: must be the word that the model is to say, like "positive"')
    if _text("label", label) != label.strip():
        raise UserError(f"label={shown(label)}: begins or ends with white space; take it away")
    return {"text": _text("text", row["text"]), "label": label}


CHECKS: dict[Kind, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "choice": _choice,
    "completion": _completion,
    "label": _label,
    "text": lambda row: {"text": _text("text", row["text"])},
}


def _prompt(row: dict[str, Any]) -> str:
    prompt = row["prompt"]
    # the harness moves white space at the end of a prompt to what follows: nothing would be left to follow
    return prompt if prompt == "" else _text("prompt", prompt)


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise UserError(f"{key}={shown(value)}: must be a text")
    if not value.strip():
        raise UserError(f"{key}: is {'blank' if value else 'empty'}; give it a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(value[error.start]):04x}"
        raise UserError(f"{key}: {half} is half a character; write the whole of it") from None
    return value


def joined_option(context: str, option: str) -> str:
    """Text that follows a context for an option: one space apart, unless white space or nothing is there already."""
    apart = not context or context[-1].isspace() or option[0].isspace()
    return option if apart else f" {option}"


def harness_config(own: Own, label_prompt: str) -> dict[str, Any]:
    """Makes the config of an `lm_eval.api.task.ConfigurableTask` for a user's task.

    Texts reach the harness through functions, since it would run a string as a template. Few-shot examples are other
    rows of the file.

    Args:
        label_prompt: stands between a text and its label.
    """
    from datasets import Dataset

    to_text, to_target, to_choice = _functions(own, label_prompt)
    output = {"completion": "loglikelihood", "text": "loglikelihood_rolling"}.get(own.kind, "multiple_choice")
    return {
        "task": own.name,
        "custom_dataset": lambda **_: {"test": Dataset.from_list(own.rows)},
        "test_split": "test",
        "fewshot_split": "test",  # the same as test_split, or the harness would let a row be its own example
        "output_type": output,
        "doc_to_text": to_text,
        "doc_to_target": to_target,
        "doc_to_choice": to_choice,
        "target_delimiter": "",
        "metric_list": [
            {"metric": metric, "aggregation": aggregation, "higher_is_better": more}
            for metric, (aggregation, more) in METRICS[own.kind].items()
        ],
        "metadata": {"version": 1},
    }


def _functions(own: Own, label_prompt: str) -> tuple[Function, Function, Function | None]:
    """Of a row: the context, the target (an index where there are options), and the options."""
    if own.kind == "choice":
        return (
            _key("prompt"),
            _key("answer"),
            lambda row: [joined_option(row["prompt"], choice) for choice in row["choices"]],
        )
    if own.kind == "completion":
        return _key("prompt"), lambda row: joined_option(row["prompt"], row["completion"]), None
    if own.kind == "text":
        return lambda row: "", _key("text"), None
    labels = own.labels
    return (
        lambda row: row["text"] + label_prompt,
        lambda row: labels.index(row["label"]),
        lambda row: [joined_option(row["text"] + label_prompt, label) for label in labels],
    )


def _key(key: str) -> Function:
    return lambda row: row[key]
