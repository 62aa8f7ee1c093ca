"""A job server: a process that has imported what jobs use, and forks one each time the starter of a sweep asks for it.

`python -m smallgpt.launch.job_server SOCKET STARTER`. It computes nothing and runs no threads, so what it forks is like
a Python that has just imported all that. Each job then is a child of the starter, as if that had started its command:
in a session of its own, with the starter's environment as the server got it, and it outlives the server.
"""

import gc
import os
import signal
import socket
import sys
import sysconfig
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from smallgpt.ranks import ROOT, end_with_the_starter

IMPORTED = (
    "smallgpt.launch.process",
    "smallgpt.launch.job",
    "smallgpt.tasks.train",
    "smallgpt.tasks.trained",
    "smallgpt.tasks.evaluate",
    "smallgpt.tasks.inspect",
    "smallgpt.tasks.teacher",
    "smallgpt.training.trainer",
    "smallgpt.training.checkpoints",
    "smallgpt.training.first_weights",
    "smallgpt.training.forecast",
    "smallgpt.training.interruption",
    "smallgpt.training.muon",
    "smallgpt.training.processes",
    "smallgpt.training.profiling",
    "smallgpt.training.progress",
    "smallgpt.training.validation_schedule",
    "smallgpt.data.datamodule",
    "smallgpt.data.prepare",
    "smallgpt.contract.check",
    "smallgpt.evaluation.run_scores",
    "smallgpt.inference.generate",
    "smallgpt.export.model_card",
    "smallgpt.speed.benchmark_table",
)
"""Modules that jobs import, with all that these import. None may start a thread, or ask how many GPUs there are."""
REQUEST_BYTES = 65_536
FORK_SECONDS = 0.001
OUTDATED = 3
"""Exit code of a server whose code has changed, so that another one would have the new code."""


def main(server: socket.socket, starter: int) -> int:
    """Serves until the starter is gone or the code has changed; in a fork: runs its job and returns its exit code."""
    end_with_the_starter(signal.SIGKILL, starter)
    state = code_state()
    from smallgpt.launch.standard_streams import steady_streams

    with steady_streams():  # before libraries keep the streams for their logging
        import_what_jobs_use()
        run_dir = serve(server, starter, state) if can_fork() else None
        if run_dir is None:
            os._exit(0)
        from smallgpt.launch import process

        sys.argv = [process.__file__, str(run_dir), str(starter)]
        return process.main(run_dir)


def import_what_jobs_use() -> None:
    """Imports what most jobs need, and makes the table of names that transformers makes at its first model folder."""
    for module in IMPORTED:
        import_module(module)
    with suppress(ImportError):  # where it lies elsewhere, each job makes its own
        from transformers.conversion_mapping import get_checkpoint_conversion_mapping

        get_checkpoint_conversion_mapping("")


def can_fork() -> bool:
    """Whether a fork has all that this process has: no threads, which only this one would keep, and the GPUs."""
    import torch

    from smallgpt.packages import private

    gc.collect()
    gc.freeze()  # what is imported stays: a fork need not look through it, which would copy its pages
    trial = os.fork()
    if trial == 0:
        with private("torch"):
            os._exit(torch.cuda._is_in_bad_fork())
    _, status = os.waitpid(trial, 0)
    # counted behind a fork, before which OpenBLAS has ended its threads, to start them again where they are needed
    return status == 0 and len(os.listdir("/proc/self/task")) == 1


def serve(server: socket.socket, starter: int, state: dict[str, int]) -> Path | None:
    """Forks a job for each directory and log that come; returns the directory in the fork, None at the end.

    Args:
        state: that of the code before it was imported.
    """
    while True:
        request, logs, _, _ = socket.recv_fds(server, REQUEST_BYTES, 1)
        if not request:
            return None
        if code_state() != state:
            os._exit(OUTDATED)
        number = fork_child_of(starter)
        if number == 0:
            server.close()
            become_job(logs[0])
            return Path(os.fsdecode(request))
        os.close(logs[0])
        if number is None:
            return None
        server.send(str(number).encode())


def code_state() -> dict[str, int]:
    """When each file of smallgpt was last changed, and what is installed: a job runs what is there now."""
    own = map(str, (ROOT / "smallgpt").rglob("*.py"))
    state = {}
    for path in [*own, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]:
        with suppress(OSError):
            state[path] = os.stat(path).st_mtime_ns
    return state


def fork_child_of(starter: int) -> int | None:
    """Forks a process whose parent is the starter, which adopts it because its first parent ends at once.

    Returns its number; 0 in that process itself, and None where there is no room for another one.
    """
    read, write = os.pipe()
    between = os.fork()
    if between:
        os.close(write)
        with suppress(ChildProcessError):  # of a starter that was told to ignore how its children end
            os.waitpid(between, 0)
        number = os.read(read, 32)
        os.close(read)
        return int(number) if number else None
    between = os.getpid()
    try:
        child = os.fork()
    except OSError:
        os._exit(1)
    if child:
        os.write(write, str(child).encode())
        os._exit(0)
    os.close(read)
    os.close(write)
    while os.getppid() == between:
        time.sleep(FORK_SECONDS)
    end_with_the_starter(signal.SIGTERM, starter)
    return 0


def become_job(log: int) -> None:
    """Gives a fork what a new process has for itself: its session, its output, its random numbers."""
    import numpy as np

    os.setsid()  # Ctrl-C reaches the starter, which tells the jobs
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    np.random.seed()  # Python's own are new in each fork, and PyTorch's begin with the same seed in each process


if __name__ == "__main__":
    sys.exit(main(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])))
