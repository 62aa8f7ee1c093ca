"""Settings of task=finetune: which weights of a trained model learn, and how it is scored."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from smallgpt.settings.group import Group


class FineTuning(Group):
    """Settings of a fine-tuning; a choice of the group `finetune` says the method."""

    method: Literal["full", "head", "lora", "path"] = "full"
    """Weights that learn: all; the head alone; low-rank additions to the maps; or all paths of ParallelGPT but one."""
    classifier: Literal["head", "words"] = "head"
    """What says the label: a new head on the last token of the prompt, or the label's words as a completion."""
    class_weights: bool = False
    """Whether rare labels weigh as much as frequent ones, all together."""
    patience: int | None = Field(3, gt=0)
    """Validations without a lower loss after which the training ends; null: it goes on to the end of its budget."""
    too_long: Literal["cut", "refuse"] = "cut"
    """Treatment of an example longer than the context: its first field is cut, and they are counted."""
    padding: Literal["right", "left"] = "right"
    """Side on which the rows of a batch are filled up."""
    rank: int = Field(8, gt=0)
    """Rank of LoRA's additions."""
    alpha: float = Field(16.0, gt=0)
    """Scale of LoRA's additions, over their rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout of LoRA's inputs."""
    targets: tuple[str, ...] = ()
    """Names of the maps that LoRA adds to; none: all but the output head."""
    adapter: Path | None = None
    """Folder of a LoRA adapter, as `peft` saves it, that the training begins from."""
    frozen_path: int = Field(0, ge=0)
    """Path of ParallelGPT that stays as it is, with embedding and output head."""
    shots: tuple[int, ...] = (0, 4, 16)
    """Numbers of solved examples before each prompt, with which the model is asked as it was before the training."""
    scored_examples: int | None = Field(1000, gt=0)
    """Largest number of examples of a split that are scored at the end; null: all."""

    @field_validator("shots", "targets", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        if value is None:
            return ()
        return value if isinstance(value, list | tuple) else (value,)
