"""What a report compares, read from the jobs' result.json and metrics.csv alone.

An arm is what a study varies: all jobs that differ in nothing but the seed. Arms of different data are kept apart.
"""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from smallgpt.errors import UserError, nearest, program
from smallgpt.files import nearest_beside
from smallgpt.results import read_result, validations
from smallgpt.run_directory import LOCATION_KEYS

NOT_COMPARED = LOCATION_KEYS | {"seed", "model", "log_every"}  # the variant stands for model=
BASELINE_VARIANT = "gpt"


@dataclass(frozen=True)
class ReportedJob:
    """One run directory of a sweep."""

    name: str
    run_dir: Path
    result: dict[str, Any]

    @property
    def status(self) -> str:
        return self.result.get("status", "failed")

    @property
    def completed(self) -> bool:
        return self.status == "completed"

    @property
    def is_report(self) -> bool:
        """A run of task=report, which reports others and is no part of them."""
        return self.result.get("task") == "report"

    @property
    def seed(self) -> int | None:
        return self.result.get("seed")

    @cached_property
    def overrides(self) -> dict[str, str]:
        pairs = [text.lstrip("+~").partition("=") for text in self.result.get("overrides", [])]
        return {key: value for key, _, value in pairs}

    @property
    def variant(self) -> str:
        # a job that was killed has no more than its command line
        return self.result.get("variant") or self.overrides.get("model") or "?"

    @property
    def choices(self) -> dict[str, str]:
        """What its command line sets, without what makes no other arm."""
        compared = {key: value for key, value in self.overrides.items() if key not in NOT_COMPARED}
        return {key: value for key, value in compared.items() if key.partition(".")[0] != "eval"}

    def section(self, name: str) -> dict[str, Any]:
        return self.result.get(name) or {}

    @cached_property
    def curve(self) -> list[dict[str, float]]:
        return validations(self.run_dir)


@dataclass(frozen=True)
class Arm:
    """Completed jobs that differ in nothing but the seed, one a seed."""

    label: str
    variant: str
    choices: dict[str, str]
    fingerprint: str | None
    jobs: list[ReportedJob]

    def number(self, section: str, key: str) -> float | None:
        """The mean over the jobs that have it; costs are the same in all."""
        found = [value for job in self.jobs if (value := job.section(section).get(key)) is not None]
        return sum(found) / len(found) if found else None

    def by_seed(self, key: str = "loss") -> dict[int | None, float]:
        """A score of the section `val`."""
        return self.found("val", key)

    def found(self, section: str, *path: str) -> dict[int | None, Any]:
        """What lies under a path of keys, by seed, of the jobs that have it."""
        values: dict[int | None, Any] = {job.seed: job.section(section) for job in self.jobs}
        for key in path:
            values = {seed: value.get(key) for seed, value in values.items() if value}
        return {seed: value for seed, value in values.items() if value is not None}

    @property
    def layout(self) -> list[dict[str, Any]]:
        return next((layout for job in self.jobs if (layout := job.section("cost").get("layout"))), [])

    @property
    def sample(self) -> str | None:
        """The first text that a job of the arm wrote."""
        return next((job.result["samples"][0] for job in self.jobs if job.result.get("samples")), None)


@dataclass(frozen=True)
class Comparison:
    """The arms of one data set. Their losses may be compared."""

    fingerprint: str | None
    arms: list[Arm]
    baseline: Arm


@dataclass(frozen=True)
class Study:
    """Everything that a report shows."""

    sweeps: list[Path]
    jobs: list[ReportedJob]
    comparisons: list[Comparison]
    repeated: list[ReportedJob] = field(default_factory=list)
    """Completed jobs of a seed that their arm has already."""

    @property
    def arms(self) -> list[Arm]:
        return [arm for comparison in self.comparisons for arm in comparison.arms]

    @property
    def unfinished(self) -> list[ReportedJob]:
        return [job for job in self.jobs if not job.completed]

    @property
    def question(self) -> str | None:
        asked = dict.fromkeys(job.result["question"] for job in self.jobs if job.result.get("question"))
        return " / ".join(asked) or None


def read_jobs(sweep_dir: Path, prefix: str = "") -> list[ReportedJob]:
    """The jobs in the order of their numbers; a job that has left no result is one that has not ended."""
    folders = [
        path for path in sweep_dir.glob("*") if (path / "config.yaml").exists() or (path / "result.json").exists()
    ]
    folders.sort(key=lambda path: (len(path.name), path.name))
    silent = {"status": "unfinished", "error": "no result.json: it was killed, or has not ended yet"}
    return [ReportedJob(prefix + path.name, path, read_result(path) or silent) for path in folders]


def read_study(sweeps: Sequence[Path], baseline: str | None = None) -> Study:
    """Reads sweeps and groups their jobs.

    Raises:
        UserError: a directory is missing or holds no results, or no arm is called `baseline`.
    """
    jobs: list[ReportedJob] = []
    names = [sweep_dir.resolve().name for sweep_dir in sweeps]
    if len(set(names)) < len(names):
        names = [str(sweep_dir) for sweep_dir in sweeps]
    for sweep_dir, name in zip(sweeps, names, strict=True):
        if not sweep_dir.is_dir():
            raise UserError(f"sweep={sweep_dir}: no such directory{nearest_beside(sweep_dir)}")
        found = [job for job in read_jobs(sweep_dir, f"{name}/" if len(sweeps) > 1 else "") if not job.is_report]
        if all(job.status == "unfinished" for job in found):
            alone = (sweep_dir / "result.json").exists()
            why = "is a single run" if alone else "holds no job with a result.json"
            raise UserError(f"sweep={sweep_dir}: {why}; give the directory of a sweep, such as multirun_outputs/STUDY")
        jobs += found
    arms, repeated = group(jobs)
    comparisons = []
    for fingerprint in dict.fromkeys(arm.fingerprint for arm in arms):
        same = [arm for arm in arms if arm.fingerprint == fingerprint]
        comparisons.append(Comparison(fingerprint, same, choose_baseline(same, baseline)))
    labels = [arm.label for arm in arms]
    if baseline is not None and baseline not in labels:
        close = nearest(baseline, labels) or f"; there are {', '.join(labels) or 'none, for no job is completed'}"
        raise UserError(f"baseline={baseline}: no arm of that name{close}")
    return Study(list(sweeps), jobs, comparisons, repeated)


def group(jobs: Sequence[ReportedJob]) -> tuple[list[Arm], list[ReportedJob]]:
    """Arms in the order of their first jobs, and jobs whose seed their arm has already."""
    groups: dict[tuple, list[ReportedJob]] = {}
    repeated = []
    for job in jobs:
        if not job.completed:
            continue
        key = (job.result.get("data_fingerprint"), job.variant, *sorted(job.choices.items()))
        members = groups.setdefault(key, [])
        if any(job.seed == other.seed for other in members):
            repeated.append(job)
        else:
            members.append(job)
    varied = differences([members[0].choices for members in groups.values()])
    arms = []
    for key, members in groups.items():
        first = members[0]
        words = [f"{short}={first.choices[name]}" for name, short in varied.items() if name in first.choices]
        arms.append(Arm(" ".join([first.variant, *words]), first.variant, first.choices, key[0], members))
    return arms, repeated


def differences(given: Sequence[dict[str, str]]) -> dict[str, str]:
    """Keys whose value is not the same everywhere, with the shortest name that tells them apart."""
    keys = dict.fromkeys(key for values in given for key in values)
    varied = [key for key in keys if len({values.get(key) for values in given}) > 1]
    last = [key.rpartition(".")[2] for key in varied]
    return {key: short if last.count(short) == 1 else key for key, short in zip(varied, last, strict=True)}


def choose_baseline(arms: Sequence[Arm], wanted: str | None) -> Arm:
    """The arm that the user names, else the one arm of the plain variant, else the first."""
    named = [arm for arm in arms if arm.label == wanted]
    plain = [arm for arm in arms if arm.variant == BASELINE_VARIANT]
    return (named or (plain if len(plain) == 1 else list(arms)))[0]


def command(sweep_dir: Path, jobs: Sequence[ReportedJob]) -> str:
    """What the user typed, from Hydra's record of the sweep; without one, from the words of the jobs."""
    record = sweep_dir / "multirun.yaml"
    if record.exists():
        hydra = OmegaConf.load(record).hydra
        given: Any = OmegaConf.to_container(hydra.overrides, resolve=False)
        words = [*given["task"], *[word for word in given["hydra"] if not word.startswith("hydra.mode=")]]
        added = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
        words += [word for folder in added for word in ("--config-dir", os.path.relpath(folder, hydra.runtime.cwd))]
    else:
        found: dict[str, dict[str, None]] = {}
        for job in jobs:
            for key, value in job.overrides.items():
                found.setdefault(key, {})[value] = None
        words = [f"{key}={','.join(choices)}" for key, choices in found.items()]
    return f"{program()} {shlex.join(['-m', *words])}"
