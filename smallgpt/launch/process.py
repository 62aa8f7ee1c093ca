"""A job of a sweep in its own process: `python -m smallgpt.launch.process DIRECTORY STARTER`.

The directory holds what the sweep wrote before its first job: config.yaml, resolved, and .job.json. The process holds a
lock on it, so that a job is never run twice at once, whoever starts it. STARTER is the number of the process that
started it. Until this process is bound to that one, it imports nothing that takes time.
"""

import json
import re
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from smallgpt.ranks import end_with_the_starter, is_first_process

BUSY = 75  # sysexits.h: try again later


def main(run_dir: Path) -> int:
    """Runs the job of a directory unless it is completed; returns an exit code, BUSY if another process runs it."""
    from filelock import FileLock, Timeout

    from smallgpt.launch.standard_streams import steady_streams
    from smallgpt.results import read_result

    first = is_first_process()  # of a distributed run: it has started the others and holds the lock
    try:
        with FileLock(run_dir / ".lock", timeout=0) if first else nullcontext():
            if (read_result(run_dir) or {}).get("status") == "completed":
                return 0
            with steady_streams():  # a full disk ends the log, not the job
                return run(run_dir)
    except Timeout:
        return BUSY


def run(run_dir: Path) -> int:
    """Executes the job that a directory describes; returns 0 if it is completed, else 1."""
    from omegaconf import OmegaConf

    from smallgpt.launch.job import execute
    from smallgpt.run_directory import config_of_run

    config = OmegaConf.create(without_interpolations(config_of_run(run_dir)))
    job: dict[str, Any] = {"overrides": [], "choices": {}}  # for the result, which the first process writes
    if is_first_process():
        job = json.loads((run_dir / ".job.json").read_text())
    result = execute(config, job["overrides"], job["choices"], run_dir, arm=job.get("arm"))
    return 0 if result["status"] == "completed" else 1


def without_interpolations(value: Any) -> Any:
    """Config in which `${` is text: a sweep has resolved everything, and what it left the user has escaped."""
    if isinstance(value, dict):
        return {key: without_interpolations(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_interpolations(item) for item in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


if __name__ == "__main__":
    end_with_the_starter(signal.SIGTERM if is_first_process() else signal.SIGKILL, int(sys.argv[2]))
    sys.exit(main(Path(sys.argv[1])))
