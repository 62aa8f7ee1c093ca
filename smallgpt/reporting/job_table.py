"""The table of a study's jobs: what was varied, what it took, how well it did."""

from collections.abc import Sequence
from typing import Any

from smallgpt.errors import shown
from smallgpt.reporting.jobs import ReportedJob
from smallgpt.reporting.naming import distinguishing, short_names
from smallgpt.run_directory import SPEED_KEYS


def job_table(jobs: Sequence[ReportedJob]) -> tuple[Sequence[str], list[Sequence[Any]]]:
    """Columns and rows: what was varied, what it took, how well it did; columns that no job fills are left out."""
    named = distinguishing([job.described for job in jobs])
    keys = short_names(list(dict.fromkeys(name for values in named for name in values)))
    speed = hardware(jobs)
    columns = ("job", "variant", *keys.values(), "seed", "status", "parameters", "tokens", "tokens/s", "hardware")
    scores = ("validation loss", "perplexity", "bits per byte")
    rows: list[Sequence[Any]] = []
    for job, values, where in zip(jobs, named, speed, strict=True):
        cost, train, val = (job.section(section) for section in ("cost", "train", "val"))
        rows.append(
            (
                job.name,
                job.variant,
                *[shown(values[key]) if key in values else None for key in keys],
                job.seed,
                job.status,
                cost.get("parameters"),
                train.get("tokens", cost.get("tokens")),
                None if (rate := train.get("tokens_per_second")) is None else round(rate),
                where,
                *[four_digits(val.get(key)) for key in ("loss", "perplexity", "bits_per_byte")],
            )
        )
    names = (*columns, *scores)
    filled = [i for i, column in enumerate(zip(*rows, strict=True)) if any(value is not None for value in column)]
    return [names[i] for i in filled], [[row[i] for i in filled] for row in rows]


def hardware(jobs: Sequence[ReportedJob]) -> list[str | None]:
    """What differs between jobs and makes them faster or slower, but no other arm; None where nothing does."""
    keys = [key for key in sorted(SPEED_KEYS) if len({job.config.get(key) for job in jobs if job.config}) > 1]
    texts = [
        [f"{short}={shown(job.config[key])}" for key, short in short_names(keys).items() if key in job.config]
        for job in jobs
    ]
    return [" ".join(words) or None for words in texts]


def four_digits(value: float | None) -> str | None:
    """Number with four digits after the point."""
    return None if value is None else f"{value:.4f}"
