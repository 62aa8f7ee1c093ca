"""Base of every group of settings: what it refuses, and how one value stands for a list of it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from smallgpt.errors import shown


class Group(BaseModel):
    """Base of every group: unknown keys, NaN and infinity are refused, values never change."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        coerce_numbers_to_str=True,
        protected_namespaces=(),
    )

    @classmethod
    def written_keys(cls) -> list[str]:
        """Names of the settings as a user writes them, which may be words that Python keeps for itself."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic takes true for 1
        if isinstance(value, bool) and info.field_name:
            kind = str(cls.model_fields[info.field_name].annotation)
            if "bool" not in kind and "Any" not in kind:
                raise ValueError(f"{info.field_name}={shown(value)}: must not be true or false")
        return value


def one_or_several(value: Any) -> Any:
    """Turns a value that stands alone into a list of one, and null into an empty one; a dictionary stays."""
    if value is None:
        return ()
    return value if isinstance(value, list | tuple | dict) else (str(value),)
