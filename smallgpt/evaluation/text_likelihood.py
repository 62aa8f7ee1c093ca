"""Likelihood of whole texts: what a model makes of documents of any length."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from smallgpt.data.document_windows import document_windows
from smallgpt.data.encoding import encode_text, lost_characters
from smallgpt.data.progress import Progress
from smallgpt.evaluation.records import TextRecord
from smallgpt.evaluation.scorer import Model, Request, Score, Scorer

DEFAULT_CONTEXT = 2048  # tokens, where neither the model nor its tokenizer says


class Reader:
    """A model with its tokenizer, which scores texts."""

    def __init__(
        self,
        model: Model,
        tokenizer: PreTrainedTokenizerBase,
        share: bool = True,
        faulty: bool = False,
        title: str | None = None,
    ):
        """
        Args:
            share, faulty: see `Scorer`.
            title: of a progress bar on standard error; None: no bar.
        """
        self.tokenizer: Any = tokenizer
        self.title = title
        self.max_length = context_length(model, tokenizer)
        self.scorer = Scorer(model, self.max_length, share, faulty)

    @property
    def start(self) -> int:
        """Token that stands before a text: the tokenizer's first of a sequence, else its end of a text."""
        bos = self.tokenizer.bos_token_id
        return self.tokenizer.eos_token_id if bos is None else bos

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Encodes a text, with what the tokenizer puts around one unless that is not wanted."""
        return encode_text(self.tokenizer, text, add_special_tokens)

    def lost(self, text: str, ids: Sequence[int]) -> int:
        """Counts the characters of a text that its tokens do not give back."""
        decoded = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return lost_characters(text, decoded)

    def score(self, requests: Sequence[Request]) -> list[Score]:
        """Scores requests, with a progress bar on standard error where the reader has a title."""
        with Progress(self.title or "", len(requests), shown=self.title is not None) as progress:
            return self.scorer.score(requests, progress.advance)

    def likelihood_of_texts(self, texts: Sequence[str]) -> list[TextRecord]:
        """Measures the log-likelihood of whole documents; see `likelihood_of_documents`."""
        split = [self.encode(text) for text in texts]
        sizes = [len(text.encode()) for text in texts]
        records = self.likelihood_of_documents(list(zip(split, sizes, strict=True)))
        lost = [self.lost(text, ids) for text, ids in zip(texts, split, strict=True)]
        return [replace(record, lost=characters) for record, characters in zip(records, lost, strict=True)]

    def likelihood_of_documents(self, documents: Sequence[tuple[Sequence[int], int]]) -> list[TextRecord]:
        """Measures the log-likelihood of documents given as tokens and bytes, each on its own.

        They are read in windows of the model's context; every token is scored once.
        """
        requests = [list(windows(ids, self.start, self.max_length)) for ids, _ in documents]
        scores = iter(self.score([window for each in requests for window in each]))
        totals = [sum(next(scores).loglikelihood for _ in each) for each in requests]
        return [
            TextRecord(i, total, size, len(ids))
            for i, ((ids, size), total) in enumerate(zip(documents, totals, strict=True))
        ]


def windows(ids: Sequence[int], start: int, length: int) -> Iterator[Request]:
    """Cuts a text's tokens into pieces of `length`, each behind one token; the last piece sees as many as fit."""
    known = (start, *ids)
    for first, begin, end in document_windows(len(ids), length):
        yield Request(known[first : begin + 1], known[begin + 1 : end + 1])


def context_length(model: Model, tokenizer: PreTrainedTokenizerBase) -> int:
    """Number of tokens that the model can read: its own limit, else its tokenizer's, else 2,048."""
    config = model.config.get_text_config()
    longest = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    return int(longest) if longest and longest < 10**9 else DEFAULT_CONTEXT
