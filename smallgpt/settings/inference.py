"""Settings of what is done with a trained model: generating text, evaluating, measuring speed."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from smallgpt.errors import shown
from smallgpt.settings.group import Group, one_or_several


class Generation(Group):
    """Settings of how a text is continued."""

    max_new_tokens: int = Field(100, gt=0)
    """Largest number of tokens of a continuation."""
    temperature: float = Field(0.8, ge=0)
    """Temperature of sampling; 0 is greedy decoding."""
    top_k: int | None = Field(None, gt=0)
    """Number of likeliest tokens that are drawn from; null: all."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Nucleus of sampling: the likeliest tokens that reach this probability together are drawn from; null: all."""
    num_beams: int = Field(1, gt=0)
    """Number of beams; 1 is greedy decoding or sampling."""
    stop: tuple[str, ...] = ()
    """Texts that end a continuation; they are not part of it."""
    window: bool = False
    """Whether a prompt longer than the context loses its beginning; otherwise it is refused."""

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        several = one_or_several(value)
        if "" in several:
            raise ValueError(f"stop={list(several)}: an empty text would end every continuation; null is none")
        return several


class Evaluation(Group):
    """Settings of what a checkpoint is asked; a choice of the group `eval`."""

    tasks: tuple[str, ...] = ()
    """Tasks, groups or tags of the evaluation harness."""
    path: tuple[Path, ...] = ()
    """Files of JSON lines with a user's own tasks."""
    corpora: tuple[str, ...] = ()
    """Files or folders of text, or their names in data_dir, for bits per byte."""
    split: Literal["train", "validation", "test"] = "test"
    """Split of a corpus that is read, where it has it."""
    field: str = "text"
    """Field or column of a corpus that holds the text."""
    document_start: str | None = None
    """Pattern of a document's first line, where the rows of a corpus are lines."""
    prompts: Path | None = None
    """File with one prompt a line, which the model continues freely."""
    words: Path | None = None
    """File with one word a line, each of which is looked for in the continuations."""
    samples: int = Field(5, gt=0)
    """Number of continuations of each prompt."""
    data_dir: Path | None = None
    """Folder with the tasks' data; null: the hub."""
    num_fewshot: int = Field(0, ge=0)
    """Number of solved examples before each item."""
    limit: int | None = Field(None, gt=0)
    """Largest number of items of a task and of documents of a corpus, the same for every model; null: all."""
    label_prompt: str = "\nLabel:"
    """Text between a text and its label, in a user's own task."""
    long_options: Literal["refuse", "windows"] = "refuse"
    """Treatment of an option longer than the model's context: `windows` scores it piece by piece."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the weights and of the products."""
    untrained: bool = True
    """Whether a model of the same config with random weights is asked too."""
    paper_scoring: bool = False
    """Whether options are also scored as in the code of arXiv 2404.14462, which is wrong, to show what that does."""

    @field_validator("tasks", "path", "corpora", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)

    @field_validator("document_start")
    @classmethod
    def _a_pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"document_start={shown(value)}: not a pattern ({error})") from None
        return value

    @model_validator(mode="after")
    def _something_to_ask(self) -> Self:
        if (self.prompts is None) != (self.words is None):
            given, other = ("prompts", "words") if self.words is None else ("words", "prompts")
            raise ValueError(f"{given}={getattr(self, given)}: needs eval.{other} too")
        if not (self.tasks or self.path or self.corpora or self.prompts):
            raise ValueError(
                "tasks=null: nothing to evaluate; give eval.tasks, eval.path, eval.corpora or eval.prompts"
            )
        return self


class Benchmark(Group):
    """Settings of what task=benchmark measures."""

    prompts: tuple[Annotated[int, Field(gt=0)] | None, ...] = (64, None)
    """Lengths of prompts in tokens, read in one go; null: the whole context. Decoding follows the first of them."""
    batches: tuple[Annotated[int, Field(gt=0)], ...] = (1, 8, 32)
    """Numbers of sequences that are decoded at once."""
    new_tokens: int = Field(64, gt=1)
    """Number of tokens decoded after the prompt."""
    rounds: int = Field(5, gt=0)
    """Number of rounds; each measures every model once, in turn."""
    to: str = "gpt"
    """Name of the YAML of the baseline that a config is measured with."""
    baseline: dict[str, Any] = Field(default_factory=dict)
    """Values of the baseline's YAML."""
    profile: bool = True
    """Whether to measure, too, where the time of a token goes."""

    @field_validator("prompts", "batches", mode="before")
    @classmethod
    def _some(cls, value: Any, info: ValidationInfo) -> Any:
        several = list(value) if isinstance(value, list | tuple) else [value]
        if not several:
            raise ValueError(f"{info.field_name}=[]: must name at least one")
        return tuple(dict.fromkeys(several))
