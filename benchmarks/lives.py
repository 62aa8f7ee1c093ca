"""Lives of runs as forks of one process, each of which says what phase it comes to and can be killed in it."""

import os
import select
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path

from smallgpt.ranks import end_with_the_starter

RUN = str(Path(__file__).parents[1] / "run.py")
PHASES = {  # modules and functions with which they begin
    "preparation": ("smallgpt.data.prepare", "prepare"),
    "training": ("lightning", "Trainer.fit"),
    "saving": ("smallgpt.training.checkpoints", "Checkpoints.on_validation_end"),
    "scores": ("smallgpt.tasks.train", "score_sections"),
    "sampling": ("smallgpt.tasks.trained", "samples"),
    "evaluation": ("smallgpt.tasks.evaluate", "of_run"),
    "result": ("smallgpt.launch.job", "finish"),
    "export": ("smallgpt.tasks.export", "write_hf"),
    "verification": ("smallgpt.export.verify_hf", "verify_hf"),
    "report": ("smallgpt.reporting.report", "report"),
}
ORPHAN_SECONDS = 10.0


@dataclass
class Life:
    """A fork that does what a command line says.

    Args:
        folder: in which its log, its cache and its temporary files lie, under the name of the run.
    """

    folder: Path
    name: str
    words: list[str]
    marks: list[tuple[str, float]] = field(default_factory=list)
    """When it came to which phase."""

    def __post_init__(self) -> None:
        reader, writer = os.pipe()
        (self.folder / f"{self.name}-tmp").mkdir(exist_ok=True)
        parent = os.getpid()
        self.process = os.fork()
        if self.process == 0:
            end_with_the_starter(signal.SIGKILL, parent)
            os.close(reader)
            self._live(writer)
        os.close(writer)
        self._reader = reader
        self.code: int | None = None

    def _live(self, writer: int) -> None:
        """Is the life itself, in the fork."""
        code: object = 99
        try:
            os.setsid()
            log = os.open(self.folder / f"{self.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for stream in (1, 2):
                os.dup2(log, stream)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            os.environ["TMPDIR"] = str(self.folder / f"{self.name}-tmp")
            tempfile.tempdir = None
            for phase, (module, path) in PHASES.items():
                if module in sys.modules:
                    announce_phase(writer, phase, sys.modules[module], path)
            os.environ["SMALLGPT_CACHE"] = f"{self.folder / self.name}-cache"
            sys.argv = [RUN, *self.words]
            from smallgpt.launch.main import main

            code = main()
        except SystemExit as stop:
            code = stop.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else 0)

    def wait(self, seconds: float | None = None, phase: str | None = None) -> bool:
        """Waits for the end, a time, or a phase; returns whether the life goes on."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._reader], [], [], left)[0]:
                return True
            names = os.read(self._reader, 1000).decode().split()
            if not names:
                break
            self.marks += [(name, time.monotonic()) for name in names]
            if phase in names:
                return True
        os.close(self._reader)
        _, status = os.waitpid(self.process, 0)
        self.code = os.waitstatus_to_exitcode(status)
        self.marks.append(("end", time.monotonic()))
        return False

    def kill(self, whole_tree: bool) -> None:
        """Kills it, and sees to it that nothing of it goes on."""
        (os.killpg if whole_tree else os.kill)(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self._reader)
        deadline = time.monotonic() + ORPHAN_SECONDS
        while works(self.process):
            if time.monotonic() > deadline:
                raise SystemExit(f"killed {self.name}, and something of it goes on: session {self.process}")
            time.sleep(0.01)


def works(group: int) -> bool:
    """Whether a process of a group is left that has not ended."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group, *_ = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(its_group) == group and state not in "ZX":
            return True
    return False


def announce_phase(writer: int, phase: str, owner: object, path: str) -> None:
    """Replaces the function with which a phase begins by one that says so."""
    *classes, name = path.split(".")
    for each in classes:
        owner = getattr(owner, each)
    original = getattr(owner, name)

    @wraps(original)
    def announced(*args: object, **options: object) -> object:
        os.write(writer, f"{phase}\n".encode())
        return original(*args, **options)

    setattr(owner, name, announced)
