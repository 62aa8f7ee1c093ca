"""Everything that a report shows: the jobs of sweeps, their arms, and what each arm is compared with."""

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from omegaconf import OmegaConf

from smallgpt.errors import UserError, nearest, nearest_key, one_line, program, shown
from smallgpt.files import nearest_beside
from smallgpt.notices import say
from smallgpt.reporting.arms import Arm, group
from smallgpt.reporting.jobs import DAMAGED, ReportedJob, read_jobs
from smallgpt.reporting.naming import ABSENT
from smallgpt.reporting.searches import is_search, searched_metrics
from smallgpt.run_directory import LEFT_OUT
from smallgpt.settings.group import one_or_several

BASELINE_VARIANT = "gpt"


@dataclass(frozen=True, eq=False)  # so that what is worked out of one can be kept
class Comparison:
    """The arms of one data set whose losses have one unit, so that they may be compared."""

    fingerprint: str | None
    arms: list[Arm]
    references: list[Arm]
    """Arms that the others are compared with, each with the one that has the same other choices."""
    metrics: tuple[str, ...] = ()
    """Metrics of a search that had several; their Pareto front is shown."""
    searches: tuple[Path, ...] = ()
    """Directories of such searches among the sweeps."""

    @cached_property
    def split(self) -> Literal["val", "test"]:
        """The held-out text whose losses are reported: the test split where every job was scored on it."""
        jobs = [job for arm in self.arms for job in arm.jobs]
        return "test" if all(job.section("test").get("loss") is not None for job in jobs) else "val"

    @property
    def loss_unit(self) -> str:
        """Unit of the losses, such as `nats a token`."""
        return f"nats a {self.arms[0].jobs[0].loss_unit}"

    def losses(self, arm: Arm) -> dict[int | None, float]:
        """Losses of an arm by seed, on the split that is reported."""
        return arm.by_seed("loss", self.split)

    @property
    def tuned_keys(self) -> list[str]:
        return list(dict.fromkeys(key for arm in self.arms if arm.tuning for key in arm.tuning.chosen))

    @property
    def baseline(self) -> Arm | None:
        """What all others are compared with, where that is one arm."""
        return self.references[0] if len(self.references) == 1 else None

    def baseline_of(self, arm: Arm) -> Arm | None:
        """The reference at equal other choices; None for a reference itself, and where there is none."""
        if arm in self.references:
            return None
        return self.baseline or next((each for each in self.references if self.equal_choices(arm, each)), None)

    def equal_choices(self, arm: Arm, reference: Arm) -> bool:
        """Whether two arms differ only in their variants, and in what a key of one variant alone says."""
        for key in self.free_keys:
            ours, theirs = arm.described.config.get(key, ABSENT), reference.described.config.get(key, ABSENT)
            if ours != theirs and not (key.startswith("model.") and ABSENT in (ours, theirs)):
                return False
        return True

    @cached_property
    def free_keys(self) -> list[str]:
        """Keys of the config that do not follow from the variant."""
        values: dict[str, dict[str, list[Any]]] = {}
        keys = dict.fromkeys(key for arm in self.arms for key in arm.described.config)
        for key in keys:
            for arm in self.arms:
                known = values.setdefault(key, {}).setdefault(arm.variant, [])
                known.append(arm.described.config.get(key, ABSENT))
        return [key for key in keys if any(v != known[0] for known in values[key].values() for v in known)]


@dataclass(frozen=True)
class Study:
    """Everything that a report shows."""

    sweeps: list[Path]
    jobs: list[ReportedJob]
    comparisons: list[Comparison]
    repeated: list[ReportedJob] = field(default_factory=list)
    """Completed jobs of a seed that their arm has already."""

    left_out: list[tuple[str, str]] = field(default_factory=list)
    """Words of the combinations that no job was made for, and why."""

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


def read_study(
    sweeps: Sequence[Path],
    baseline: str | None = None,
    tune: Sequence[str] = (),
    label: Mapping[str, str] = MappingProxyType({}),
) -> Study:
    """Reads sweeps and groups their jobs.

    Args:
        sweeps: their directories.
        baseline: the arm, or arms, that the others are compared with.
        tune: keys on which each arm uses its own best; none: those that the sweeps themselves name.
        label: names that are given to arms, each with the arm that it is for.

    Raises:
        UserError: a directory is missing or holds no results, no arm is called `baseline` or as `label` has it, or no
            job has a key to tune.
    """
    jobs: list[ReportedJob] = []
    names = [sweep_dir.resolve().name for sweep_dir in sweeps]
    if len(set(names)) < len(names):
        names = [str(sweep_dir) for sweep_dir in sweeps]
    for sweep_dir, name in zip(sweeps, names, strict=True):
        if not sweep_dir.is_dir():
            raise UserError(f"sweep={sweep_dir}: no such directory{nearest_beside(sweep_dir)}")
        found = [job for job in read_jobs(sweep_dir, f"{name}/" if len(sweeps) > 1 else "") if not job.is_report]
        if all(job.status in ("unfinished", DAMAGED) for job in found):
            if wrong := next((job for job in found if job.status == DAMAGED), None):
                raise UserError(
                    f"sweep={sweep_dir}: no job that can be read; job {wrong.name}: {wrong.result['error']}"
                )
            alone = (sweep_dir / "result.json").exists()
            why = "is a single run" if alone else "holds no job with a result.json"
            raise UserError(f"sweep={sweep_dir}: {why}; give the directory of a sweep, such as multirun_outputs/STUDY")
        jobs += found
    known = list(dict.fromkeys(key for job in jobs for key in job.compared))
    for key in tune:
        if key not in known:
            raise UserError(f"tune={key}: no job of {', '.join(map(str, sweeps))} has it{nearest_key(key, known)}")
    if not tune and any(job.section("val") for job in jobs):  # without a loss nothing can be chosen
        tune = list(dict.fromkeys(key for job in jobs for key in one_or_several(job.config.get("tune"))))
    arms, repeated = group(jobs, tune)
    arms = with_labels(arms, label)
    metrics = next((found for sweep in sweeps if (found := searched_metrics(sweep))), ())
    searches = tuple(sweep for sweep in sweeps if is_search(sweep))
    comparisons = []
    for fingerprint, unit in dict.fromkeys((arm.fingerprint, arm.jobs[0].loss_unit) for arm in arms):
        same = [arm for arm in arms if (arm.fingerprint, arm.jobs[0].loss_unit) == (fingerprint, unit)]
        comparisons.append(Comparison(fingerprint, same, references(same, baseline), metrics, searches))
    if baseline is not None and not any(is_called(arm, baseline) for arm in arms):
        raise UserError(f"baseline={baseline}: no arm of that name{close_labels(arms, baseline)}")
    return Study(list(sweeps), jobs, comparisons, repeated, [each for sweep in sweeps for each in left_out(sweep)])


def left_out(sweep_dir: Path) -> list[tuple[str, str]]:
    """What the sweep wrote down of combinations that make no model."""
    try:
        found = json.loads((sweep_dir / LEFT_OUT).read_text(encoding="utf-8"))
        return [(" ".join(each["overrides"]), str(each["reason"])) for each in found]
    except (OSError, ValueError, TypeError, KeyError):  # there is none, or it is damaged
        return []


def references(arms: Sequence[Arm], wanted: str | None) -> list[Arm]:
    """The arms that the user names, else those of the plain variant; of all or none the first."""
    exact = [arm for arm in arms if arm.label == wanted]
    named = exact or [arm for arm in arms if wanted is not None and is_called(arm, wanted)]
    found = named or [arm for arm in arms if arm.variant == BASELINE_VARIANT]
    return found if 0 < len(found) < len(arms) else list(arms[:1])


def with_labels(arms: Sequence[Arm], names: Mapping[str, str]) -> list[Arm]:
    """Arms, some under the name that the user gives them. Raises UserError where a name is for none, or for several."""
    found = list(arms)
    for name, wanted in names.items():
        meant = [arm for arm in arms if arm.label == wanted] or [arm for arm in arms if is_called(arm, wanted)]
        if not meant:
            raise UserError(f"label.{name}={wanted}: no arm of that name{close_labels(arms, wanted)}")
        if len(meant) > 1 or any(arm.label == name for arm in found):
            several = f"is {len(meant)} arms: {', '.join(arm.label for arm in meant)}; name one"
            raise UserError(f"label.{name}={wanted}: {several if len(meant) > 1 else 'another arm has that name'}")
        found[arms.index(meant[0])] = replace(meant[0], label=name, is_labelled=True)
    return found


def close_labels(arms: Sequence[Arm], wanted: str) -> str:
    """The end of a message about an arm that there is not: what it may have been."""
    labels = [arm.label for arm in arms]
    return nearest(wanted, labels) or f"; there are {', '.join(labels) or 'none, for no job is completed'}"


def is_called(arm: Arm, name: str) -> bool:
    """Whether a variant and choices such as `gpt lr=1e-3` are the arm's; a number may be written in any way."""
    if name == arm.label:
        return True
    variant, *words = name.split()
    return variant == arm.variant and all(is_chosen(arm, *word.partition("=")[::2]) for word in words)


def is_chosen(arm: Arm, key: str, text: str) -> bool:
    """Whether an arm has a value, given by its key or the last part of it."""
    known = {**arm.described.config, **arm.described.choices}
    return any((name == key or name.endswith(f".{key}")) and is_written(value, text) for name, value in known.items())


def is_written(value: Any, text: str) -> bool:
    """Whether a text stands for a value of a config."""
    try:
        return float(text) == value
    except ValueError:
        return text == shown(value)


def command(sweep_dir: Path, jobs: Sequence[ReportedJob]) -> str:
    """What the user typed, from Hydra's record of the sweep; without one, from the words of the jobs."""
    words = recorded_words(sweep_dir / "multirun.yaml")
    if words is None:
        found: dict[str, dict[str, None]] = {}
        for job in jobs:
            for key, value in job.overrides.items():
                found.setdefault(key, {})[value] = None
        words = [f"{key}={','.join(choices)}" for key, choices in found.items()]
    return f"{program()} {shlex.join(['-m', *map(without_quotes, words)])}"


def without_quotes(word: str) -> str:
    """A question or a template as it was typed, without the quotes that keep it from Hydra's grammar."""
    found = re.fullmatch(r"(?P<key>[\w.]*(?:question|template))='(?P<text>.*)'", word, re.S)
    return word if found is None else f"{found['key']}=" + found["text"].replace("\\'", "'")


def recorded_words(record: Path) -> list[str] | None:
    """Words of the command line in Hydra's record of a sweep; None where there is none, or it is damaged."""
    if not record.exists():
        return None
    try:
        hydra: Any = OmegaConf.load(record).hydra
        given: Any = OmegaConf.to_container(hydra.overrides, resolve=False)
        words = [*given["task"], *[word for word in given["hydra"] if not word.startswith("hydra.mode=")]]
        added = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
        words += [word for folder in added for word in ("--config-dir", os.path.relpath(folder, hydra.runtime.cwd))]
        return [str(word) for word in words]
    except Exception as error:  # of YAML, of OmegaConf, of the disk
        say(f"{record}: damaged ({shown(one_line(error))}); the report takes the command from its jobs")
        return None
