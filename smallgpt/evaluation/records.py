"""Records of what a model said to one question, from which every measure is computed."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ItemRecord:
    """A multiple-choice question with the log-likelihood of each option."""

    id: int
    """Number of its row in the task's data, from 0."""
    options: tuple[str, ...]
    gold: int
    """Index of the right option."""
    loglikelihoods: tuple[float, ...]
    """Log-likelihood of each option after its context, in nats."""
    tokens: tuple[int, ...]
    """Number of tokens of each option that were scored."""
    scored: tuple[str, ...]
    """Text that was scored for each option: the option, or where options fill a gap, what follows it."""
    faulty: tuple[float, ...] | None = None
    """Score by the authors of arXiv 2404.14462, summed over the whole vocabulary; for study alone."""
    cut: int = 0
    """Most tokens that an option's context, examples included, lost at its beginning for want of room."""

    @property
    def choice(self) -> int:
        """Option that the model takes: the most likely, of equals the first."""
        return max(range(len(self.loglikelihoods)), key=self.loglikelihoods.__getitem__)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "choice": self.choice}


@dataclass(frozen=True)
class TextRecord:
    """A text, or what completes a prompt, with its log-likelihood."""

    id: int
    loglikelihood: float
    """Log-likelihood of the text, in nats."""
    bytes: int
    """Bytes of the UTF-8 text that was scored."""
    tokens: int
    greedy: bool | None = None
    """Whether greedy decoding gives exactly this text; None where there is no prompt."""
    lost: int = 0
    """Characters that the tokens do not give back: a tokenizer that loses text scores less than there is."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
