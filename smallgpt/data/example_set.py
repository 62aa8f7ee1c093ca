"""The examples of a data choice, read, checked and split once, and kept under the cache."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from smallgpt.data.corpus_parts import Split
from smallgpt.data.example_splits import place_examples, refuse_empty
from smallgpt.data.rows import Place, Row, json_kind, value_of, written
from smallgpt.data.templates import Template
from smallgpt.errors import UserError, nearest, shown
from smallgpt.files import write_text
from smallgpt.notices import say

FORMAT = 1
HIDDEN = -1
"""Label of rows whose label is not published."""


class Source(Protocol):
    """Choice of data whose rows are examples, see `smallgpt.data.examples.Examples`."""

    @property
    def labels(self) -> tuple[str, ...] | None: ...

    @property
    def messages(self) -> str | None: ...

    @property
    def template(self) -> str | None: ...

    @property
    def group(self) -> str | None: ...

    @property
    def holdout(self) -> float: ...

    @property
    def name(self) -> str: ...

    @property
    def near(self) -> bool: ...

    @property
    def task_kind(self) -> str: ...

    @property
    def answer_field(self) -> str: ...

    @property
    def prompt_and_answer(self) -> tuple[Template, str]: ...

    def check(self) -> None: ...

    def fingerprint(self, cache_dir: Path) -> dict[str, Any]: ...

    def rows(self) -> Iterator[tuple[Row, Place, Split | None]]: ...


@dataclass(frozen=True)
class Example:
    """A prompt and what follows it."""

    place: str
    """File and row that it stands in."""
    split: Split
    head: str = ""
    """Beginning of the prompt, up to its first field, which is cut where an example is too long."""
    tail: str = ""
    """The rest of the prompt."""
    completion: str = ""
    """Text that follows the prompt; white space at the prompt's end belongs to it."""
    references: tuple[str, ...] = ()
    """Right answers; of a classification its label."""
    messages: tuple[dict[str, str], ...] = ()
    """Chat, in place of all of these."""

    @property
    def prompt(self) -> str:
        return self.head + self.tail

    @property
    def text(self) -> str:
        """Prompt and completion as one text."""
        return "\n".join(each["content"] for each in self.messages) or self.prompt + self.completion


@dataclass(frozen=True)
class ExampleSet:
    """All examples of a data choice, with their splits."""

    name: str
    kind: str
    fingerprint: str
    examples: list[Example]
    labels: tuple[str, ...]
    """Labels of a classification, in the order of their numbers."""
    left_out: int
    """Training examples whose content is nearly that of a held-out one."""
    without_label: int

    def of(self, split: Split) -> list[Example]:
        """The examples of a split."""
        return [each for each in self.examples if each.split == split]

    def section(self, trained: int) -> dict[str, Any]:
        """The section `data` of a result."""
        counts = Counter(each.split for each in self.examples)
        return {
            "corpus": self.name,
            "kind": self.kind,
            "train_examples": trained,
            "validation_examples": counts["validation"],
            "test_examples": counts["test"],
            "labels": list(self.labels),
            "near_duplicates_of_held_out": self.left_out,
            "without_label": self.without_label,
        }


def example_set(data: Source, cache_dir: Path) -> ExampleSet:
    """The examples of a data choice, from the cache where they have been read before."""
    identity = [FORMAT, data.fingerprint(cache_dir)]
    fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    kept = cache_dir / "examples" / f"{data.name}-{fingerprint}.jsonl"
    if kept.is_file() and (found := read_kept(kept)) is not None:
        return found
    found = replace(read_set(data), fingerprint=fingerprint)
    kept.parent.mkdir(parents=True, exist_ok=True)
    head = {key: value for key, value in asdict(replace(found, examples=[])).items() if key != "examples"}
    lines = [json.dumps(head), *(json.dumps(vars(each)) for each in found.examples), str(len(found.examples))]
    write_text(kept, "\n".join(lines) + "\n")
    return found


def read_kept(path: Path) -> ExampleSet | None:
    """Reads what was kept of a data choice; None where the file is cut or damaged."""
    try:
        head, *rows, count = path.read_text(encoding="utf-8").splitlines()
        if int(count) != len(rows):
            return None
        kept = [as_tuples(json.loads(row), "references", "messages") for row in rows]
        header = as_tuples(json.loads(head), "labels")
        return ExampleSet(**header, examples=[Example(**each) for each in kept])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def as_tuples(values: dict[str, Any], *names: str) -> dict[str, Any]:
    """Values out of JSON whose lists of these names are tuples again."""
    return {key: tuple(value) if key in names else value for key, value in values.items()}


def read_set(data: Source) -> ExampleSet:
    """Reads, checks and splits the examples of a data choice. Raises UserError for the first that is wrong."""
    data.check()
    made: list[Example] = []
    contents: list[str] = []
    official: list[Split | None] = []
    groups: list[str | None] = []
    without = 0
    for row, place, split in data.rows():
        if is_hidden(row, data):
            without += 1
            continue
        example, content = example_of(row, place, data)
        made.append(example)
        contents.append(content)
        official.append(split)
        groups.append(None if data.group is None else str(value_of(row, data.group, place, "data.group")))
    if not made:
        raise UserError(f"data={data.name}: no examples with an answer; give rows")
    if without:
        say(f"data={data.name}: left out, their label is not published: {without:,} rows")
    placed = place_examples(contents, official, groups, data.holdout, data.near)
    refuse_empty(placed.splits, made[-1].place, data.holdout)
    kept = [replace(each, split=split) for each, split in zip(made, placed.splits, strict=True) if split is not None]
    labels = labels_of(kept, data) if data.task_kind == "classification" else ()
    return ExampleSet(data.name, data.task_kind, "", kept, labels, placed.left_out, without)


def is_hidden(row: Row, data: Source) -> bool:
    """Whether the label of a row is -1 where labels are numbers from 0: that of a test split that is not published."""
    return data.task_kind == "classification" and bool(data.labels) and row.get(data.answer_field) == HIDDEN


def example_of(row: Row, place: Place, data: Source) -> tuple[Example, str]:
    """The example of one row, and what of it must not lie in two splits: its prompt without the template's own words.

    Raises UserError with its file and line where a field is missing or of another kind.
    """
    if data.messages is not None:
        chat = Example(str(place), "train", messages=messages_of(row, place, data.messages))
        return chat, chat.text
    template, field = data.prompt_and_answer
    texts = {
        name: written(value_of(row, name, place, template.key), name, place, template.key) for name in template.names
    }
    filled = template.filled(lambda name: texts[name])
    if not any(text.strip() for text in texts.values()):
        raise UserError(
            f"data.path={place}: nothing in {' or '.join(template.names)}; give a text, or take the row away"
        )
    references = answers_of(row, field, place, data)
    prompt = filled.rstrip() or filled
    before = template.parts[0]
    head = prompt[: len(before[0]) + len(texts[before[1] or ""])] if before[1] else ""
    space = filled[len(prompt) :]
    if data.template is None and prompt and not references[0][:1].isspace():
        space = space or " "
    example = Example(str(place), "train", head, prompt[len(head) :], space + references[0], references)
    return example, "\n".join(texts.values())


def answers_of(row: Row, field: str, place: Place, data: Source) -> tuple[str, ...]:
    """Right answers in a field: a text, a list of texts, or a label."""
    key = "data.template" if data.template is not None else "data.completion"
    value = value_of(row, field, place, key)
    if data.task_kind == "classification":
        return (label_of(value, field, place, data),)
    values = value if isinstance(value, list) else [value]
    texts = tuple(dict.fromkeys(written(each, field, place, key) for each in values))
    if not texts or not texts[0].strip():
        raise UserError(f"data.path={place}: {field} is empty; give what is to follow, or take the row away")
    return texts


def label_of(value: Any, field: str, place: Place, data: Source) -> str:
    """Label of a row, in words."""
    if data.labels and (isinstance(value, int) or (isinstance(value, str) and value.isdecimal())):
        number = int(value)
        if not 0 <= number < len(data.labels):
            raise UserError(f"data.path={place}: {field}={number}; data.labels has {len(data.labels)}, from 0")
        return data.labels[number]
    text = written(value, field, place, "data.label").strip()
    if not text:
        raise UserError(f"data.path={place}: {field} is empty; give a label, or take the row away")
    if data.labels and text not in data.labels:
        raise UserError(f"data.path={place}: {field}={shown(text)} is not in data.labels{nearest(text, data.labels)}")
    return text


def messages_of(row: Row, place: Place, field: str) -> tuple[dict[str, str], ...]:
    """Chat messages of a row, the last of which is the assistant's."""
    value = value_of(row, field, place, "data.messages")
    if not isinstance(value, list) or not value:
        raise UserError(f"data.path={place}: {field} holds {json_kind(value)}, not a list of messages")
    for number, each in enumerate(value, 1):
        if not isinstance(each, dict) or not all(isinstance(each.get(key), str) for key in ("role", "content")):
            raise UserError(f"data.path={place}: message {number} of {field} has no role and content, both texts")
    if value[-1]["role"] != "assistant":
        raise UserError(f"data.path={place}: the last message of {field} is {value[-1]['role']}'s, not the assistant's")
    return tuple({"role": each["role"], "content": each["content"]} for each in value)


def labels_of(examples: Sequence[Example], data: Source) -> tuple[str, ...]:
    """Labels of the training examples, sorted or as `data.labels` has them.

    Raises UserError for a single one, and for a held-out one that training never sees.
    """
    known = {each.references[0] for each in examples if each.split == "train"}
    for each in examples:
        label = each.references[0]
        if label not in known:
            raise UserError(
                f"data.path={each.place}: the label {shown(label)} is never seen in training; give more rows of it, or "
                f"take it away{nearest(label, known)}"
            )
    if len(known) < 2:
        (only,) = known
        raise UserError(
            f"data.path={examples[0].place}: {shown(only)}, and so is every other training example; give rows of at "
            "least two labels"
        )
    return data.labels or tuple(sorted(known))


def first_examples(examples: Iterable[Example], number: int | None, seed: int) -> list[Example]:
    """The first `number` examples, or all, in an order that follows from the seed: fewer are part of more.

    Raises UserError where there are not as many.
    """
    every = list(examples)
    if number is not None and number > len(every):
        raise UserError(f"data.examples={number}: there are {len(every):,} training examples; null takes all")
    digests = [hashlib.sha256(f"{seed} {each.place} {each.text}".encode("utf-8", "replace")).digest() for each in every]
    order = sorted(range(len(every)), key=digests.__getitem__)
    return [every[place] for place in order[:number]]
