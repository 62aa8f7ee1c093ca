"""Values that an earlier sweep has found best for each arm, such as its rate: `hydra.sweeper.tuned=DIRECTORY`."""

from collections.abc import Sequence
from pathlib import Path

from smallgpt.errors import UserError
from smallgpt.files import nearest_beside
from smallgpt.hydra_grammar import in_hydra_grammar
from smallgpt.reporting.jobs import ReportedJob, read_jobs
from smallgpt.reporting.tuning import tuned


class TunedArms:
    """The jobs of an earlier sweep over the same arms, from which each arm takes its best values."""

    def __init__(self, sweep_dir: Path, keys: Sequence[str], arm_keys: set[str]):
        """
        Args:
            sweep_dir: the earlier sweep.
            keys: the tuned axes.
            arm_keys: keys that any arm sets, by which a job's arm is known.

        Raises:
            UserError: there is no such sweep, or nothing is tuned.
        """
        self.name = f"hydra.sweeper.tuned={sweep_dir}"
        if not keys:
            raise UserError(f"{self.name}: nothing is tuned; name the keys, as in tune=optimizer.lr")
        if not sweep_dir.is_dir():
            raise UserError(f"{self.name}: no such directory{nearest_beside(sweep_dir)}")
        self.keys = keys
        self.jobs = read_jobs(sweep_dir)
        # the arms of this sweep may be some of those: what set the others apart there still tells whose job it was
        self.arm_keys = arm_keys | {key for key in varied(self.jobs) if key not in {*keys, "seed"}}

    def words(self, job_words: Sequence[str]) -> list[str]:
        """Words that set the tuned axes of a job to its arm's best. Raises UserError where none was completed."""
        own = self.arm_of(job_words)
        mine = [job for job in self.jobs if self.arm_of([f"{k}={v}" for k, v in job.overrides.items()]) == own]
        completed = [job for job in mine if job.completed and job.section("val").get("loss") is not None]
        if not completed:
            raise UserError(f"{self.name}: no completed job of the arm {' '.join(sorted(own)) or 'without a choice'}")
        (chosen, _), _ = tuned(completed, [job for job in mine if job.status == "failed"], self.keys)
        return [f"{key}={in_hydra_grammar(self.value(chosen[0], key))}" for key in self.keys]

    def arm_of(self, words: Sequence[str]) -> set[str]:
        """Those of a job's words that tell its arm."""
        return {word for word in words if word.partition("=")[0] in self.arm_keys}

    def value(self, job: ReportedJob, key: str) -> object:
        """Value of a tuned axis in a job's config. Raises UserError where it has no such key."""
        if key not in job.config:
            raise UserError(f"{self.name}: job {job.name} has no {key}")
        return job.config[key]


def varied(jobs: Sequence[ReportedJob]) -> set[str]:
    """Keys on the command lines of jobs whose values are not the same in all."""
    keys = {key for job in jobs for key in job.overrides}
    return {key for key in keys if len({job.overrides.get(key) for job in jobs}) > 1}
