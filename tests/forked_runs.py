"""run.py again and again in forks of one process, which has imported everything already."""

import contextlib
import hashlib
import json
import os
import re
import runpy
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

RUN = Path(__file__).parents[1] / "run.py"
LIMIT_SECONDS = 60.0  # of processor time; a case that takes longer hangs
RAW = re.compile(r"Traceback|\b[A-Za-z_.]*(?:Error|Exception|Warning)\b(?=[:(])|HYDRA_FULL_ERROR")
"""What betrays an exception that nobody has put into words."""

PROGRESS = re.compile(r"(duplicates|tokenizer|tokens) (of|for) ")
"""Lines of a preparation, which reads a text before it can find a fault in it."""


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code, negative after a signal, and what it printed."""

    code: int
    out: str
    err: str


def import_everything() -> None:
    """Imports what any task needs, once, so that a fork starts at once."""
    import datasets  # noqa: F401
    import lightning  # noqa: F401
    import lm_eval  # noqa: F401
    import onnxruntime  # noqa: F401
    import optuna  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import torch
    import wandb  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401

    import smallgpt.evaluation.evaluate
    import smallgpt.export.standalone
    import smallgpt.launch.checks
    import smallgpt.launch.job
    import smallgpt.launch.rephrase
    import smallgpt.launch.search
    import smallgpt.launch.sweep_report
    import smallgpt.reporting.html
    import smallgpt.tasks.benchmark
    import smallgpt.tasks.evaluate
    import smallgpt.tasks.export
    import smallgpt.tasks.generate
    import smallgpt.training.checkpoints
    import smallgpt.training.trainer  # noqa: F401

    torch.set_num_threads(1)


def forked(folder: Path, words: list[str], cache: Path, to: Path | int | None = None, encoding: str = "utf-8") -> Ended:
    """Runs run.py in a fork, in a folder, with its output in files beside the folder.

    Args:
        to: where standard output goes instead: a device, or an open file.
        encoding: of both outputs.
    """
    out, err = (folder.with_name(f"{folder.name}.{name}") for name in ("out", "err"))
    for path in (out, err):
        path.write_bytes(b"")
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.setsid()
            code = in_the_child(folder, words, cache, out if to is None else to, err, encoding)
        finally:
            os._exit(code)
    code = wait(pid)
    return Ended(code, *(path.read_bytes().decode(errors="replace") for path in (out, err)))


def in_the_child(folder: Path, words: list[str], cache: Path, out: Path | int, err: Path, encoding: str) -> int:
    for number, path in ((0, Path(os.devnull)), (1, out), (2, err)):
        os.dup2(path if isinstance(path, int) else os.open(path, os.O_RDWR | os.O_CREAT, 0o644), number)
    sys.stdout, sys.stderr = (open(number, "w", closefd=False, encoding=encoding) for number in (1, 2))  # noqa: SIM115
    os.chdir(folder)
    os.environ["SMALLGPT_CACHE"] = str(cache)
    os.environ.pop("HYDRA_FULL_ERROR", None)
    sys.argv = [str(RUN), *words]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
    try:
        runpy.run_path(str(RUN), run_name="__main__")
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
        code = 1
    else:
        code = 0
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)


def wait(pid: int) -> int:
    """Waits for a child; ends it, with all that it started, where it has used its time."""
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            return os.waitstatus_to_exitcode(status)
        with contextlib.suppress(OSError, ValueError):
            user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            if (int(user) + int(system)) / os.sysconf("SC_CLK_TCK") > LIMIT_SECONDS:
                os.killpg(pid, signal.SIGKILL)
        time.sleep(0.005)


def content(folder: Path) -> dict[str, str]:
    """Everything in a folder, with what is in each file."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.is_dir():
            found[name] = "folder"
    return found


def fault(ended: Ended, before: dict[str, str], after: dict[str, str], says: str = "") -> str | None:
    """What is wrong with how a bad command ended; None where it was refused on one line and nothing was left."""
    lines = [line for line in ended.err.splitlines() if not PROGRESS.match(line)]
    if ended.code < 0:
        return f"ended by {signal.Signals(-ended.code).name}: {ended.err[-300:]}"
    if ended.code == 0:
        return f"exit code 0: {ended.out[-200:]}"
    if len(lines) != 1 or not lines[0].startswith("error: "):
        return f"not one line: {ended.err[-600:]}"
    if raw := RAW.search(ended.err) or RAW.search(ended.out):
        return f"raw {raw[0]}: {ended.err[:400]}"
    if any(not character.isprintable() for character in lines[0]):
        return f"control characters: {lines[0]!r}"
    try:
        result = json.loads(ended.out.splitlines()[-1])
    except (ValueError, IndexError):
        return f"no result on standard output: {ended.out[-200:]}"
    if result.get("status") not in ("refused", "failed"):
        return f"status {result.get('status')}"
    if after != before:
        changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
        return f"left behind or changed: {sorted(changed)[:5]} ({lines[0][:200]})"
    if says and says not in lines[0]:
        return f"says nothing of {says!r}: {lines[0][:400]}"
    return None
