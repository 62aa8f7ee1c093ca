"""An arm is what a study compares: all jobs whose resolved configs differ in the seed alone.

Places, hardware and logging make no other arm, nor does a default that is written out. Arms of different data are kept
apart. On a tuned axis the jobs of all values are one arm, which is reported at its best.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from smallgpt.reporting.jobs import ReportedJob
from smallgpt.reporting.naming import Described, distinguishing, hashable, labels
from smallgpt.reporting.tuning import Tuning, tuned

DATA = ("data", "tokenizer")  # where they come from; what they are is the data's fingerprint
TAKEN = "data.examples"
"""Key of how many of the training examples are taken, which no fingerprint says."""


@dataclass(frozen=True)
class Arm:
    """Completed jobs that differ in nothing but the seed, one a seed."""

    label: str
    named: dict[str, Any]
    """What its label says beside the variant: groups and keys with their values."""
    described: Described
    """Description that its jobs share, without the tuned axes."""
    fingerprint: str | None
    jobs: list[ReportedJob]
    tuning: Tuning | None = None
    """How the values of the tuned axes were chosen, where several were tried."""
    is_labelled: bool = False
    """Whether the user has given it its name."""

    @property
    def variant(self) -> str:
        return self.described.variant

    def number(self, section: str, key: str) -> float | None:
        """The mean over the jobs that have it; costs are the same in all."""
        found = [value for job in self.jobs if (value := job.section(section).get(key)) is not None]
        return sum(found) / len(found) if found else None

    def cost(self, section: str, key: str) -> float | None:
        """Cost by where it stands in the results; the section `train` has `flops` too, those trained with or to be."""
        if (section, key) != ("train", "flops"):
            return self.number(section, key)
        cost, tokens = self.jobs[0].section("cost"), self.jobs[0].section("train").get("tokens")
        each = cost.get("training_flops_per_token")
        return each * tokens if each and tokens else cost.get("training_flops")

    def by_seed(self, key: str = "loss", split: str = "val") -> dict[int | None, float]:
        """A score of the section `val` or `test`."""
        return self.found(split, key)

    def found(self, section: str, *path: str) -> dict[int | None, Any]:
        """What lies under a path of keys, by seed, of the jobs that have it."""
        values: dict[int | None, Any] = {job.seed: job.section(section) or None for job in self.jobs}
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


def group(jobs: Sequence[ReportedJob], tune: Collection[str] = ()) -> tuple[list[Arm], list[ReportedJob]]:
    """Arms in the order of their first jobs, and jobs whose seed their arm has already, at the same tuned values."""
    completed = [job for job in jobs if job.completed]
    groups: dict[tuple, list[ReportedJob]] = {}
    for job in completed:
        groups.setdefault(arm_key(job, tune), []).append(job)
    chosen, repeated = [], []
    for members in groups.values():
        others = [job for job in jobs if job.status == "failed" and same_config(job, members[0], tune)]
        found, again = tuned(members, others, tune)
        chosen.append(found)
        repeated += again
    several = len({members[0].fingerprint for members in groups.values()}) > 1 or any(job.own_text for job in jobs)
    described = [arm_description(members, tune, several) for members in groups.values()]
    named = distinguishing(described)
    names = labels([each.variant for each in described], named)
    arms = [
        Arm(label, words, each, members[0].fingerprint, jobs_of_arm, tuning)
        for label, words, each, members, (jobs_of_arm, tuning) in zip(
            names, named, described, groups.values(), chosen, strict=True
        )
    ]
    return arms, sorted(repeated, key=jobs.index)


def arm_key(job: ReportedJob, tune: Collection[str]) -> tuple:
    """Equal for jobs of one arm. A fingerprint stands for the keys of data and tokenizer."""
    known = job.fingerprint is not None and not job.own_text
    config = job.described.without(lambda name: is_of(name, tune) or (known and is_of_data(name))).config
    return job.fingerprint, *(sorted((key, hashable(value)) for key, value in config.items()) or [job.variant])


def is_of(name: str, keys: Collection[str]) -> bool:
    """Whether a key is one of some keys and groups, or lies in one of the groups."""
    return name in keys or name.partition(".")[0] in keys


def is_of_data(name: str) -> bool:
    """Whether a group or key says no more than where the data come from."""
    return is_of(name, DATA) and name != TAKEN


def same_config(one: ReportedJob, other: ReportedJob, tune: Collection[str]) -> bool:
    """Whether two jobs differ in nothing but the seed and the tuned axes, whatever came of them."""
    ours, theirs = (job.described.without(lambda name: name in tune).config for job in (one, other))
    return bool(ours) and ours == theirs


def arm_description(members: Sequence[ReportedJob], tune: Collection[str], with_data: bool) -> Described:
    """What may name an arm: what all its jobs have in common."""
    first = members[0].described

    def leave_out(name: str) -> bool:
        own = name in tune or (is_of_data(name) and not with_data)
        return own or any(job.described.value(name) != first.value(name) for job in members)

    found = first.without(leave_out)
    typed = frozenset(name for job in members for name in job.overrides)
    return Described(found.variant, found.choices, found.config, typed)
