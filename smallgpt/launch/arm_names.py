"""Names of the arms that jobs belong to, known before the jobs run: a logger calls its runs by them."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from smallgpt.launch.loading import chosen_keys
from smallgpt.reporting.jobs import comparable
from smallgpt.reporting.naming import Described, distinguishing, labels
from smallgpt.reporting.study import recorded_words
from smallgpt.run_directory import flat, sweep_of


def arms_of_sweep(jobs: Sequence[Described], searched: Collection[str] = ()) -> list[str]:
    """Names of the arms of a sweep's jobs, such as `lineargpt lr=0.001`, as its report will call them.

    Args:
        jobs: all of them.
        searched: keys that a search sets, which does not know its later jobs yet.
    """
    return labels([job.variant for job in jobs], distinguishing(jobs, searched))


def arm_of_run(choices: Mapping[str, str], plain: dict[str, Any], overrides: Sequence[str], run_dir: Path) -> str:
    """Name of the arm of a run that no launcher of ours has named: its variant, and what is its own.

    That is what its command line sets, or in a sweep what its words say that those of the whole sweep do not.
    """
    sweep = sweep_of(run_dir)
    shared = (recorded_words(sweep / "multirun.yaml") if sweep else None) or ()
    typed = chosen_keys([word for word in overrides if word not in shared])
    variant = choices.get("model", "")
    described = Described(variant, choices, comparable(flat(plain), "train"), typed)
    return labels([variant], distinguishing([described], typed))[0]
