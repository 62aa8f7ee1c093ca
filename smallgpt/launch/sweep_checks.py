"""Checks of a sweep's jobs, all of them before the first runs; what jobs have in common is checked once."""

import json
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.utils import instantiate

from smallgpt.errors import Impossible, UserError, nearest_key
from smallgpt.files import write_text
from smallgpt.launch.checks import checked_settings
from smallgpt.launch.composing import JobComposer
from smallgpt.launch.known import Known
from smallgpt.launch.this_machine import ThisMachine
from smallgpt.launch.used_keys import refuse_unused, value_at
from smallgpt.notices import say
from smallgpt.run_directory import LEFT_OUT, claim, flat, refuse_foreign, refuse_foreign_sweep, refuse_other_config
from smallgpt.settings import Settings

TIMED = {"benchmark", "poc"}


class JobChecks:
    """Checks of the jobs of one sweep, which its composer composes."""

    def __init__(self, composer: JobComposer) -> None:
        self.composer = composer
        self.known = Known()
        self.directories: set[str] = set()

    @cached_property
    def machines(self) -> Any:
        """Machines that are to run the jobs; None where a launcher of Hydra's own runs them."""
        launcher = self.composer.sweep.hydra.launcher
        ours = str(launcher._target_).startswith("hydra_plugins.smallgpt_launcher.")
        return instantiate(launcher).machines if ours else None

    def prepare(self, launcher: Any) -> None:
        """Hands over to a launcher what the checks have made: composed jobs, and machines that have begun to import."""
        launcher.composer = self.composer
        if self.machines is not None:
            launcher.machines = self.machines

    def expect(self, jobs: list[list[str]]) -> None:
        """Begins to import what the jobs need beside their checks, unless one of these measures a latency."""
        measured = any("latency" in word for words in jobs for word in words)
        if measured or not isinstance(self.machines, ThisMachine):
            return
        try:
            plain = self.composer.job(0, jobs[0]).plain
        except Exception:  # its check says what is wrong
            return
        if value_at(plain, "match.quantity") != "latency" and plain.get("latency") is None:
            self.machines.expect(plain)

    def check(self, number: int, words: list[str]) -> Settings:
        """The settings of a job.

        Raises UserError where they are wrong, or are not those of the job that its directory holds.
        """
        job = self.composer.job(number, words)
        machines, here = self.machines, self.machines is None or isinstance(self.machines, ThisMachine)
        matched = value_at(job.plain, "match.quantity") == "latency"
        if (matched or job.plain.get("latency") is not None) and not here:
            word = "match=latency" if matched else "latency=measured"
            launcher = self.composer.sweep.hydra.runtime.choices["hydra/launcher"]
            raise UserError(
                f"{word}: measured on this machine, and hydra/launcher={launcher} runs jobs on others; "
                "use hydra/launcher=processes there"
            )
        refuse_unused(job.plain, job.overrides, alone=False)
        settings = checked_settings(job.plain, job.overrides, job.choices.get("model", ""), here, self.known)
        if settings.resume == "extend":
            raise UserError("resume=extend: goes on with one run; leave -m out, and name it with hydra.run.dir=")
        if machines is not None:
            machines.check(settings.trainer)
            at_once = machines.jobs_on_a_device(settings.trainer) if isinstance(machines, ThisMachine) else 1
            if settings.task_name == "poc" and isinstance(machines, ThisMachine):
                at_once = machines.n_jobs or 1  # its graphs are timed on the processor, whatever device trains
            if settings.task_name in TIMED and at_once > 1:
                raise UserError(
                    f"hydra.launcher.n_jobs={machines.n_jobs}: jobs of task={settings.task_name} are timed and would "
                    "disturb each other; use 1"
                )
        refuse_foreign(job.run_dir, "hydra.sweep.dir")
        refuse_other_config(job.run_dir, settings, "hydra.sweep.dir")
        return settings

    def refuse_shared(self, number: int, words: list[str]) -> None:
        """Raises UserError where a job's directory is that of one before it."""
        subdir = self.composer.job(number, words).subdir  # of one sweep.dir, whose time of day each job asks anew
        if subdir in self.directories:
            raise UserError(
                f"hydra.sweep.subdir={subdir}: two jobs would share this directory; leave it out, or name it by what "
                "differs between them"
            )
        self.directories.add(subdir)


def check_grid(checks: JobChecks, jobs: list[list[str]]) -> list[list[str]]:
    """Jobs of a sweep that can exist; says which ones are left out, and claims the directory of the sweep.

    Raises:
        UserError: for the first job that is wrong, or if none can exist.
    """
    possible: list[list[str]] = []
    keys: dict[str, None] = {}
    tuned: dict[str, None] = {}
    left_out: list[tuple[list[str], str]] = []
    checks.expect(jobs)
    for words in jobs:
        try:
            settings = checks.check(len(possible), words)
        except Impossible as error:
            left_out.append((words, str(error)))
        else:
            checks.refuse_shared(len(possible), words)
            possible.append(words)
            keys |= dict.fromkeys(flat(settings.plain))
            tuned |= dict.fromkeys(settings.tune)
    if not possible:
        raise UserError(left_out[0][1])
    for key in tuned:
        if key not in keys:
            raise UserError(f"tune={key}: unknown key{nearest_key(key, keys)}")
    for message, number in Counter(why for _, why in left_out).items():
        say(f"left out, {number} of {len(jobs)} jobs: {message}")
    sweep_dir = Path(checks.composer.sweep.hydra.sweep.dir)
    refuse_foreign_sweep(sweep_dir)
    claim(sweep_dir, "hydra.sweep.dir")
    record_left_out(sweep_dir, left_out)
    return possible


def record_left_out(sweep_dir: Path, left_out: list[tuple[list[str], str]]) -> None:
    """Writes at the top of a sweep which words make no model, and why; removes what an earlier start wrote."""
    if left_out:
        record = [{"overrides": words, "reason": why} for words, why in left_out]
        write_text(sweep_dir / LEFT_OUT, json.dumps(record, indent=2) + "\n")
    else:
        (sweep_dir / LEFT_OUT).unlink(missing_ok=True)
