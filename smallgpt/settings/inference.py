"""Settings of what is done with a trained model: generating text, evaluating, measuring speed."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from smallgpt.errors import shown
from smallgpt.settings.group import Group, one_or_several


class Generation(Group):
    max_new_tokens: int = Field(100, gt=0)
    temperature: float = Field(0.8, ge=0)
    """0 is greedy."""
    top_k: int | None = Field(None, gt=0)
    top_p: float | None = Field(None, gt=0, le=1)
    num_beams: int = Field(1, gt=0)
    stop: tuple[str, ...] = ()
    """Texts that end a continuation; they are not part of it."""
    window: bool = False
    """A prompt longer than the context loses its beginning; else it is refused."""

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)


class Evaluation(Group):
    """What a checkpoint is asked; a choice of the group `eval`."""

    tasks: tuple[str, ...] = ()
    """Tasks, groups or tags of the evaluation harness."""
    path: tuple[Path, ...] = ()
    """A user's own tasks: files of JSON lines."""
    corpora: tuple[str, ...] = ()
    """Files or folders of text, or their names in data_dir, for bits per byte."""
    split: Literal["train", "validation", "test"] = "test"
    """Of a corpus that has it."""
    field: str = "text"
    """Which field or column of a corpus holds the text."""
    document_start: str | None = None
    """Where the rows of a corpus are lines: the pattern of a document's first one."""
    prompts: Path | None = None
    """A file, one prompt a line, that the model continues freely."""
    words: Path | None = None
    """A file, one word a line, that is looked for in the continuations."""
    samples: int = Field(5, gt=0)
    """Continuations of each prompt."""
    data_dir: Path | None = None
    """A folder with the tasks' data; null: the hub."""
    num_fewshot: int = Field(0, ge=0)
    limit: int | None = Field(None, gt=0)
    """At most so many items of a task, the same for every model."""
    label_prompt: str = "\nLabel:"
    """Between a text and its label, in a task of one's own."""
    long_options: Literal["refuse", "windows"] = "refuse"
    """What becomes of an option longer than the model's context: windows scores it piece by piece."""
    precision: Literal["fp32", "bf16"] = "fp32"
    untrained: bool = True
    """Also ask a model of the same config with random weights."""
    paper_scoring: bool = False
    """Also score as the code of arXiv 2404.14462 does, which is wrong, to show what that does."""

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
    """What task=benchmark measures."""

    prompts: tuple[Annotated[int, Field(gt=0)] | None, ...] = (64, None)
    """Lengths in tokens, read in one go; null: the whole context. Decoding follows a prompt of the first length."""
    batches: tuple[Annotated[int, Field(gt=0)], ...] = (1, 8, 32)
    """Sequences that are decoded at once."""
    new_tokens: int = Field(64, gt=1)
    rounds: int = Field(5, gt=0)
    """Each measures every model once, in turn."""
    to: str = "gpt"
    """Name of the YAML of the baseline that a config is measured with."""
    baseline: dict[str, Any] = Field(default_factory=dict)
    """The values of that file."""
    profile: bool = True
    """Also where the time of a token goes."""

    @field_validator("prompts", "batches", mode="before")
    @classmethod
    def _some(cls, value: Any, info: ValidationInfo) -> Any:
        several = list(value) if isinstance(value, list | tuple) else [value]
        if not several:
            raise ValueError(f"{info.field_name}=[]: must name at least one")
        return tuple(dict.fromkeys(several))
