"""Corpora that bits per byte are measured on, read as documents."""

import re
import signal
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from smallgpt.data import formats
from smallgpt.data.folders import FolderFiles, folder_files, in_words, official_split
from smallgpt.errors import UserError, nearest, one_line, shown
from smallgpt.files import nearest_beside
from smallgpt.settings import Evaluation

PATIENCE_SECONDS = 20.0  # for all lines of a corpus; an ordinary pattern reads a million in one


def read_corpora(settings: Evaluation) -> dict[str, list[str]]:
    """Reads the documents of each of `eval.corpora`, no more than `eval.limit`, by the name of its file or folder.

    Raises UserError as `read_corpus`.
    """
    given = settings.data_dir, settings.split, settings.field, settings.document_start
    return {Path(name).name: read_corpus(name, *given)[: settings.limit] for name in settings.corpora}


def read_corpus(name: str, data_dir: Path | None, split: str, field: str, document_start: str | None) -> list[str]:
    """Reads the documents of one split of a file or folder; all of them where no file is named after a split.

    Args:
        name: a path, or the name of a file or folder anywhere under `data_dir`.
        document_start: where rows are lines: the pattern of a document's first one. A corpus without such a line has
            a document a row.

    Raises:
        UserError: it is missing, has no such split, or holds no text.
    """
    root = find_corpus(name, data_dir)
    folder = FolderFiles([root]) if root.is_file() else folder_files(root)
    splits = {path: official_split(path if path == root else path.relative_to(root)) for path in folder.paths}
    named = {found for found in splits.values() if found}
    if named and split not in named and root.is_dir():
        raise UserError(f"eval.split={split}: {root} has {', '.join(sorted(named))}")
    texts: list[str] = []
    for path in folder.paths:
        if root.is_file() or not named or splits[path] == split:
            texts += rows_of(path, field)
    documents = [text for text in joined_lines(texts, document_start) if text.strip()]
    if not documents:
        unread = f": {in_words(folder.left_out)}" if folder.left_out else ""
        raise UserError(f"eval.corpora={name}: no text in {root}{unread}")
    return documents


def find_corpus(name: str, data_dir: Path | None) -> Path:
    """Finds a corpus by its path, or by its name anywhere under `data_dir`. Raises UserError where it is missing."""
    path = Path(name).expanduser()
    if path.exists():
        return path
    if data_dir is None:
        raise UserError(f"eval.corpora={name}: no such file or folder{nearest_beside(path)}")
    under = sorted(data_dir.expanduser().rglob("*"), key=lambda found: (len(found.parts), found))
    names = {found.name: found for found in reversed(under)} | {found.stem: found for found in reversed(under)}
    if name not in names:
        raise UserError(f"eval.corpora={name}: not in eval.data_dir={data_dir}{nearest(name, names)}")
    return names[name]


def rows_of(path: Path, field: str) -> list[str]:
    """Reads the texts of a file's rows. Raises UserError, in words of `eval`, where that is not possible."""
    try:
        formats.check_file(path, field)
        return [text for text, _ in formats.read_documents(path, field, in_blocks=True)]
    except UserError as error:
        raise UserError(
            str(error).replace("data.path=", "eval.corpora=").replace("data.field=", "eval.field=")
        ) from None
    except Exception as error:  # the libraries' errors share no base class
        raise UserError(f"eval.corpora={path}: cannot be read ({one_line(error)})") from None


def joined_lines(rows: Sequence[str], document_start: str | None) -> Iterable[str]:
    """Joins rows that are lines to documents, where any of them begins one; otherwise each row is a document."""
    if not document_start:
        return rows
    with patience(f"eval.document_start={shown(document_start)}"):
        begins = [re.match(document_start, row) is not None for row in rows]
    return _documents(rows, begins) if any(begins) else rows


@contextmanager
def patience(setting: str) -> Generator[None]:
    """Context in which a pattern that takes too long, as a catastrophic one does for ever, raises UserError.

    Python's matcher hears signals; only the main thread can set one.
    """

    def stop(*_: Any) -> None:
        raise UserError(f"{setting}: takes over {PATIENCE_SECONDS:g} s to match; avoid repeated groups such as (a+)+")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _documents(rows: Sequence[str], begins: Sequence[bool]) -> Iterator[str]:
    document: list[str] = []
    for row, is_first in zip(rows, begins, strict=True):
        if document and is_first:
            yield "".join(document)
            document = []
        document.append(row)
    yield "".join(document)
