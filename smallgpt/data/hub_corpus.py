"""A data set of the hub as a corpus, through `datasets`."""

import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pydantic import Field

from smallgpt.data import hub
from smallgpt.data.content_hash import content_hash
from smallgpt.data.corpora import Corpus
from smallgpt.data.corpus_parts import CorpusPart, Document, Split, SplitRule, batched_texts
from smallgpt.data.folders import folder_files
from smallgpt.data.rows import Place, field_of, unknown_field
from smallgpt.errors import UserError


class Hub(Corpus):
    """A data set by its hub name (or a local folder laid out like one)."""

    repository: str
    """Name of the data set on the hub, or a folder laid out like one."""
    config: str | None = None
    """Configuration of the data set, where it has several; None: its own default."""
    revision: str | None = None
    """Branch, tag or commit of the data set; None: the newest."""
    field: str = "text"
    """Field of a row that holds the text; nothing else is read."""
    train_split: str = "train"
    """Name of the official split that is trained on."""
    validation_split: str | None = None
    """Name of the official held-out split; without one, documents are held out by the hash of their text."""
    test_split: str | None = None
    """Name of the official split that is scored once, at the end of a training."""
    document_start: str | None = None
    """Pattern of a document's first line, where rows are lines; None: each row is a document."""
    limit_bytes: int | None = Field(None, gt=0)
    """Bytes of training text to stream, instead of downloading all of it."""
    licence: str = "see the data set's page"
    """Licence of the text, for the model card."""

    @property
    def name(self) -> str:
        return re.sub(r"[^\w.-]+", "-", self.repository.rstrip("/").rsplit("/", 1)[-1])

    def check(self) -> None:
        try:
            re.compile(self.document_start or "")
        except re.error as error:
            raise UserError(f"data.document_start={self.document_start}: not a pattern ({error})") from None

    def check_reachable(self) -> None:
        if not self._is_local() and not hub.reachable() and not self._is_cached():
            with self._errors():
                raise ConnectionError

    def fingerprint(self, cache_dir: Path) -> dict[str, Any]:
        values = {"corpus": "hub", **self.model_dump(exclude={"licence"}), "dedupe": self.deduplication}
        if not self._is_local():
            return values
        root = Path(self.repository).expanduser()
        files = [
            [path.relative_to(root).as_posix(), content_hash(path, cache_dir)] for path in folder_files(root).paths
        ]
        return {**values, "files": files}

    def origin(self) -> dict[str, str]:
        return {"source": f"hub data set {self.repository}", "licence": self.licence}

    @property
    def has_splits(self) -> bool:
        return self.validation_split is not None

    def size(self) -> int | None:
        return self.limit_bytes

    def parts(self) -> Iterator[CorpusPart]:
        yield from batched_texts((document, len(document[1].encode())) for document in self._documents())

    def _documents(self) -> Iterator[Document]:
        splits: list[tuple[str, Split | None]] = [(self.train_split, None)]
        if self.validation_split:  # first, so that of duplicates it is the held-out one that stays
            splits = [(self.validation_split, "validation"), (self.train_split, "train")]
        if self.test_split:
            splits.insert(0, (self.test_split, "test"))
        for name, official in splits:
            rule = SplitRule(official, self.holdout)
            texts = self._joined(self._rows(name))
            if self.limit_bytes and official not in ("validation", "test"):
                texts = limited(texts, self.limit_bytes)
            for text in texts:
                yield rule(text), text

    def _joined(self, rows: Iterable[str]) -> Iterator[str]:
        if self.document_start is None:
            yield from rows
            return
        start = re.compile(self.document_start)
        document: list[str] = []
        for row in rows:
            if document and start.match(row):
                yield "".join(document)
                document = []
            document.append(row)
        yield "".join(document)

    def _rows(self, split: str) -> Iterator[str]:
        import datasets

        with self._errors():
            streaming = self.limit_bytes is not None
            loaded = datasets.load_dataset(
                self.repository,
                self.config,
                split=split,
                revision=None if self._is_local() else self.revision,
                streaming=streaming,
            )
            names = loaded.column_names or [self.field]
            column = self.field if self.field in names else self.field.partition(".")[0]
            if column not in names:
                raise unknown_field(self.field, names, Path(self.repository))
            for number, row in enumerate(loaded.select_columns([column]), 1):
                yield field_of(row, self.field, Place(Path(self.repository), number, unit=f"{split} row"))

    def _errors(self) -> AbstractContextManager[None]:
        return hub.errors(
            f"data.repository={self.repository}",
            "data=stdlib, which needs no network, or data=files data.path=<your text>",
            local=self._is_local(),
        )

    def _is_local(self) -> bool:
        return Path(self.repository).expanduser().is_dir()

    def _is_cached(self) -> bool:
        """Whether a loaded copy lies in the cache of `datasets`; only loading it tells the rest."""
        if self.limit_bytes is not None:
            return False
        import datasets.config

        folder = Path(datasets.config.HF_DATASETS_CACHE)
        return (folder / self.repository.replace("/", "___")).is_dir()


def limited(texts: Iterable[str], limit: int) -> Iterator[str]:
    """First of the texts, until their bytes reach the limit."""
    for text in texts:
        yield text
        limit -= len(text.encode())
        if limit <= 0:
            return
