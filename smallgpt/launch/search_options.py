"""Options of a search, as conf/hydra/sweeper/optuna.yaml has them."""

from typing import Any, Literal

from pydantic import Field, field_validator

from smallgpt.settings import Group, one_or_several


class Options(Group):
    """Options of `hydra/sweeper=optuna`."""

    n_trials: int = Field(20, gt=0)
    """Number of trials of the study that have a job, over all of its starts."""
    sampler: Literal["tpe", "random", "nsga2"] = "tpe"
    metric: tuple[str, ...] = ("val.loss",)
    """Dotted key of a number in result.json, or a list of them; less is better."""
    seed: int | None = Field(0, ge=0)
    prune: bool = False
    batch: int | None = Field(None, gt=0)
    """Number of jobs that are chosen together, before the results of any of them are known.

    None: as many as the launcher runs at once, and one where it does not know how many that is.
    """
    params: dict[str, Any] = Field(default_factory=dict)
    """Overrides that a recipe gives; those of the command line replace them."""
    arms: Any = None
    """List of overrides that belong together; the search chooses one of them, and values of its own keys."""

    @field_validator("metric", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        if not (found := one_or_several(value)) or len(set(found)) < len(found):
            raise ValueError(f"metric={','.join(map(str, found)) or 'null'}: must name one metric, or several")
        return found
