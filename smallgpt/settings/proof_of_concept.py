"""Settings of task=poc: the user's examples, how candidates are adapted to them, and the limits of the deployment."""

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from smallgpt.settings.group import Group, one_or_several

Quantized = Literal["int8_dynamic", "int4"]


class ProofOfConcept(Group):
    """Settings of a proof of concept on one's own data."""

    data: str | None = None
    """File with a text and a label in each row, as CSV, TSV or JSON lines; or a folder with files for the splits."""
    question: str | None = None
    """Question in plain language that the report begins with."""
    models: tuple[str, ...] = ()
    """Variants that are trained here, at matched size, and then adapted."""
    pretrained: tuple[str, ...] = ()
    """Run directories, model folders or names on the hub that are adapted beside them."""
    text: str = "text"
    """Field that is read."""
    label: str = "label"
    """Field of the label that is to be said."""
    template: str | None = None
    """Prompt and label out of a row's fields, in place of `text` and `label`; the last field is the label."""
    labels: tuple[str, ...] | None = None
    """Words for labels that are numbers, from 0."""
    group: str | None = None
    """Field whose equal values lie in one split, such as a customer."""
    holdout: float = Field(0.15, gt=0, lt=0.5)
    """Share of the examples that is cut off for each of validation and test, where there is no file for it."""
    examples: int | None = Field(None, gt=0)
    """Number of training examples; null: all."""
    method: Literal["full", "lora"] = "full"
    """Weights that learn from the examples."""
    epochs: float = Field(6.0, gt=0)
    """Largest number of passes over the training examples; early stopping may end them."""
    lr: float = Field(1e-3, gt=0)
    """Largest learning rate of the adaptation, by AdamW."""
    patience: int | None = Field(3, gt=0)
    """Validations without a lower loss after which the adaptation ends; null: it goes on."""
    scored_examples: int | None = Field(1000, gt=0)
    """Largest number of held-out examples that decide; null: all."""
    quantize: tuple[Quantized, ...] = ("int8_dynamic", "int4")
    """Formats of the exported graph beside fp32."""
    prompt_tokens: int | None = Field(None, gt=0)
    """Length of the prompts that are timed; null: that of the longest but 5 % of the held-out ones."""
    batch: int = Field(1, gt=0)
    """Number of requests that are answered at the same time."""
    new_tokens: int | None = Field(None, gt=1)
    """Number of tokens of an answer; null: those of the longest label, at least two."""
    rounds: int = Field(15, gt=5)
    """Number of rounds in which an answer of each form of a candidate is timed, in turn; six tell a 95 % interval."""
    requests_per_day: int = Field(10_000, gt=0)
    """Number of requests whose cost is told."""
    price_per_hour: float | None = Field(None, gt=0)
    """Price of an hour of such a machine, in any currency; null: the cost is told in hours."""
    margin: float = Field(0.02, gt=0, lt=1)
    """Accuracy that may be given up for a cheaper candidate."""
    max_latency_ms: float | None = Field(None, gt=0)
    """Limit: milliseconds from one token of an answer to the next."""
    max_answer_ms: float | None = Field(None, gt=0)
    """Limit: milliseconds to a whole answer, with its prompt read."""
    max_memory_mb: float | None = Field(None, gt=0)
    """Limit: peak resident memory of the process that answers, in MB of 10^6 bytes."""
    max_disk_mb: float | None = Field(None, gt=0)
    """Limit: size of the folder that is deployed, in MB of 10^6 bytes."""
    min_accuracy: float | None = Field(None, gt=0, le=1)
    """Limit: share of held-out examples that must be answered right."""
    max_hours: float | None = Field(None, gt=0)
    """Limit: hours that the adaptation to the examples may take."""

    @field_validator("models", "pretrained", "quantize", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any, info: ValidationInfo) -> Any:
        several = one_or_several(value)
        if len(set(several)) < len(several):
            raise ValueError(f"{info.field_name}={list(several)}: one is there twice")
        return several

    @property
    def limits(self) -> dict[str, float]:
        """Limits that are given, by their names."""
        named = {key: getattr(self, key) for key in LIMITS}
        return {key: value for key, value in named.items() if value is not None}


LIMITS = ("min_accuracy", "max_latency_ms", "max_answer_ms", "max_memory_mb", "max_disk_mb", "max_hours")
DECIDING = ("question", "margin", "requests_per_day", "price_per_hour", *LIMITS)
"""Keys by which a report decides and prices; nothing that is trained or measured depends on them."""
