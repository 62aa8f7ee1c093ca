"""How a document is cut for a model whose context it may exceed: one rule for validation, evaluation and benchmark."""

from collections.abc import Iterator
from typing import NamedTuple


class DocumentWindow(NamedTuple):
    """A piece of a document that is scored in one pass, as places in (the token before the document, *document).

    The model reads the tokens from `first` up to, without it, `end`; scored are those after `begin` up to `end`.
    """

    first: int
    begin: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.first


def document_windows(tokens: int, context_length: int) -> Iterator[DocumentWindow]:
    """Windows that score each of a document's tokens once; the last one sees as many as fit."""
    for begin in range(0, tokens, context_length):
        end = min(begin + context_length, tokens)
        yield DocumentWindow(max(0, end - context_length), begin, end)
