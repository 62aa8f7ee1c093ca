"""A job of a sweep in its own process: `python -m smallgpt.launch.process DIRECTORY`.

The directory holds what the sweep wrote before its first job: config.yaml, resolved, and .job.json. The process holds a
lock on it, so that a job is never run twice at once, whoever starts it.
"""

import ctypes
import json
import signal
import sys
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from smallgpt.launch.job import execute, is_first_process
from smallgpt.run_directory import read_result

BUSY = 75  # sysexits.h: try again later
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(run_dir: Path) -> int:
    end_with_the_starter()
    if not is_first_process():  # started by the first one, which holds the lock
        return run(run_dir)
    try:
        with FileLock(run_dir / ".lock", timeout=0):
            if (read_result(run_dir) or {}).get("status") == "completed":
                return 0
            return run(run_dir)
    except Timeout:
        return BUSY


def run(run_dir: Path) -> int:
    config = OmegaConf.load(run_dir / "config.yaml")
    assert isinstance(config, DictConfig)
    job = json.loads((run_dir / ".job.json").read_text())
    result = execute(config, job["overrides"], job["variant"], run_dir)
    return 0 if result["status"] == "completed" else 1


def end_with_the_starter() -> None:
    """Asks Linux to end this process when the one that started it is gone, even by kill -9."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
