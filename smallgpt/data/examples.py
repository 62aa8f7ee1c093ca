"""Examples: rows with a prompt and what is to follow it, for task=finetune; as text they are a corpus like others."""

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from smallgpt.data import formats, hub
from smallgpt.data.content_hash import content_hash
from smallgpt.data.corpora import MIB, Corpus
from smallgpt.data.corpus_parts import CorpusPart, Split, batched_texts
from smallgpt.data.example_set import read_set
from smallgpt.data.folders import folder_files, official_split
from smallgpt.data.rows import Place, Row
from smallgpt.data.templates import Template
from smallgpt.errors import UserError
from smallgpt.files import nearest_beside

Kind = Literal["classification", "completion", "question_answering", "summarization", "chat"]
NAMED_SPLIT = r"(?:train|validation|test)"


class Examples(Corpus):
    """Rows of files or of the hub as examples: each has a prompt, and a completion or a label that follows it.

    `template` writes both, and its last field is what follows: `{text}\\nLabel: {label}`. Files in a folder that are
    called train, validation or test are the splits; what is missing is cut off by content.
    """

    repository: str | None = None
    """Name on the hub; `path` is read in its place where it is given."""
    config: str | None = None
    """Configuration of the data set, where it has several; null: its own default."""
    revision: str | None = None
    """Branch, tag or commit of the data set; null: the newest."""
    path: str | None = None
    """File of rows, or a folder with files for the splits."""
    files: str | None = None
    """Name of the files in the folder, before their split: sst2 for sst2_train.jsonl."""
    kind: Kind | None = None
    """Kind of task; null: classification where the last field is `label`, chat with `messages`, else completion."""
    template: str | None = None
    """Prompt and what follows, out of a row's fields; the last field is what follows."""
    prompt: str | None = None
    """Field or template of the prompt, in place of `template`."""
    completion: str | None = None
    """Field of the completion, in place of `template`; a list of texts: the first is learnt, all are right."""
    label: str = "label"
    """Field that holds a label."""
    labels: tuple[str, ...] | None = None
    """Words for labels that are numbers, from 0."""
    messages: str | None = None
    """Field with chat messages of role and content, written by the tokenizer's template."""
    group: str | None = None
    """Field whose equal values lie in one split, such as a customer or a paragraph."""
    holdout: float = Field(0.1, gt=0, lt=0.5)
    """Share of the examples that is cut off for each of validation and test, where there is no file for it."""
    examples: int | None = Field(None, gt=0)
    """Number of training examples, the first ones in an order that follows from the seed; null: all."""
    licence: str = "your own"
    """Licence of the examples, for the model card."""

    @property
    def name(self) -> str:
        named = self.files or Path(self.path or self.repository or "examples").name
        return re.sub(r"[^\w.-]+", "-", named).split(".")[0] or "examples"

    @property
    def has_splits(self) -> bool:
        return True  # of content: what is nearly equal lies in one split

    @property
    def near(self) -> bool:
        """Whether nearly equal examples count as the same."""
        return self.dedupe in (None, "near")

    @property
    def task_kind(self) -> Kind:
        """`kind`, or what null stands for."""
        if self.kind is not None:
            return self.kind
        if self.messages is not None:
            return "chat"
        return "classification" if self.answer_field == self.label else "completion"

    @property
    def answer_field(self) -> str:
        """Field of what follows the prompt."""
        return self.prompt_and_answer[1]

    @cached_property
    def prompt_and_answer(self) -> tuple[Template, str]:
        """Template of the prompt, with what stands before the answer, and the field of the answer.

        Raises UserError where the settings do not say so.
        """
        if self.template is not None:
            parts = Template(self.template).parts
            names = [name for _, name in parts if name]
            if len(names) < 2 or parts[-1][1] is None:
                raise UserError(
                    f"data.template={self.template}: must end with the field that is to follow, after another one, as "
                    "in {text}\\nLabel: {label}"
                )
            last = self.template.rindex("{")
            return Template(self.template[:last]), names[-1]
        if self.prompt is None or (self.completion is None and self.kind != "classification"):
            raise UserError(
                "data.template=null: says nothing of what is learnt; give data.template='{text}\\nLabel: {label}', or "
                "data.prompt and data.completion, or data.messages"
            )
        prompt = self.prompt if "{" in self.prompt else f"{{{self.prompt}}}"
        return Template(prompt, "data.prompt"), self.completion or self.label

    def check(self) -> None:
        if self.path is None and self.repository is None:
            raise UserError("data.path=null: no examples given; data.path=<a file of rows, or a folder>")
        if self.messages is None:
            _ = self.prompt_and_answer
        if self.path is not None:
            for path, _ in self._files():
                if formats.is_plain_text(path):
                    next(formats.read_rows(path))

    def check_reachable(self) -> None:
        if self.path is None and not hub.reachable():
            with self._errors():
                raise ConnectionError

    def fingerprint(self, cache_dir: Path) -> dict[str, Any]:
        values = {"corpus": "examples", **self.model_dump(exclude={"licence", "examples", "path"})}
        if self.path is None:
            return values
        files = [[path.name, split, content_hash(path, cache_dir)] for path, split in self._files()]
        return {**values, "files": files}

    def origin(self) -> dict[str, str]:
        return {"source": self.path or f"hub data set {self.repository}", "licence": self.licence}

    def parts(self) -> Iterator[CorpusPart]:
        texts = ((each.split, each.text) for each in read_set(self).examples)
        yield from batched_texts((document, len(document[1].encode())) for document in texts)

    def size(self) -> int | None:
        return sum(path.stat().st_size for path, _ in self._files()) if self.path is not None else MIB

    def rows(self) -> Iterator[tuple[Row, Place, Split | None]]:
        """All rows with their places and the splits that their files name."""
        if self.path is not None:
            for path, split in self._files():
                yield from ((row, place, split) for row, place in formats.read_rows(path))
            return
        import datasets

        assert self.repository is not None
        with self._errors():
            loaded: Any = datasets.load_dataset(self.repository, self.config, revision=self.revision)
        for name in loaded:
            split: Any = name if name in ("train", "validation", "test") else None
            place = Path(self.repository)
            yield from ((row, Place(place, n, unit=f"{name} row"), split) for n, row in enumerate(loaded[name], 1))

    def _errors(self) -> Any:
        return hub.errors(
            f"data={self.name}", f"data.path=<a folder with {self.files or self.name}_train.jsonl and the like>"
        )

    def _files(self) -> list[tuple[Path, Split | None]]:
        root = Path(self.path or "").expanduser()
        if not root.exists():
            raise UserError(f"data.path={root}: no such file or folder; give a file of rows{nearest_beside(root)}")
        if root.is_file():
            return [(root, None)]
        paths = [path for path in folder_files(root).paths if not formats.is_plain_text(path)]
        if self.files is None:
            found = [(path, official_split(path.relative_to(root))) for path in paths]
        else:
            pattern = re.compile(rf"(?:^|[_-]){re.escape(self.files)}[_-](?P<split>{NAMED_SPLIT})(?:[_-]|$)")
            matches = [(path, pattern.search(formats.inner_name(path).stem)) for path in paths]
            found = [(path, match["split"]) for path, match in matches if match]
        if not found:
            looked = f"{self.files}_train.jsonl and the like" if self.files else ".jsonl, .csv, .tsv or .parquet"
            raise UserError(f"data.path={root}: no examples in this folder; looked for {looked}")
        return found  # ty: ignore[invalid-explicit-return]  # the pattern has the names of splits alone
