"""Functions that start a job as the command line does, in a process of its own, and return what it has left.

The process has the same checks and messages as `python run.py`; threads, random numbers, signals and memory of the
notebook that calls stay as they are.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from smallgpt.api.runs import Run, load
from smallgpt.api.sweeps import Sweep, compare
from smallgpt.errors import UserError
from smallgpt.hydra_grammar import in_hydra_grammar
from smallgpt.ranks import python_path

OWN_WORDS = {  # what a parameter of these functions, or another function, is for
    "hydra.run.dir=": "give directory=",
    "hydra.sweep.dir=": "give directory=",
    "resume=last": "give directory= and resume='auto'",
    "-m": "smallgpt.sweep runs several jobs",
    "--multirun": "smallgpt.sweep runs several jobs",
}


def train(*words: str, directory: str | Path | None = None, quiet: bool = False, **settings: Any) -> Run:
    """Trains a model: `smallgpt.train(model="lineargpt", size="nano", budget={"tokens": 3e5})`.

    Args:
        words: words of the command line, such as "optimizer.lr=4e-3", for what is easier to write so.
        directory: run directory; None: a new one under outputs/.
        quiet: whether what the run prints is not shown.
        settings: choices of groups and values of keys; a dictionary sets several keys of one group.

    Raises:
        UserError: a key or value is wrong; the message is the line that the command line would print.
        RuntimeError: the run failed on its way.
    """
    return run("train", *words, directory=directory, quiet=quiet, **settings)


def run(task: str, *words: str, directory: str | Path | None = None, quiet: bool = False, **settings: Any) -> Run:
    """Does any task: `smallgpt.run("evaluate", checkpoint=run, eval="quick")`; see `smallgpt.train`."""
    path = Path(directory) if directory else unused("outputs", "%Y-%m-%d/%H-%M-%S")
    given = [*words, *words_of_settings(settings)]
    result = finished([f"task={task}", *given], "hydra.run.dir", path, quiet)
    if result["status"] != "completed":
        raise RuntimeError(f"{path}: {result['status']}: {result.get('error')}")
    return load(path)


def sweep(*words: str, directory: str | Path | None = None, quiet: bool = False, **settings: Any) -> Sweep:
    """Runs a sweep: `smallgpt.sweep(model=["gpt", "lineargpt"], seed=[1, 2, 3])`; see `smallgpt.train`.

    A list is an axis, whose values are combined with those of the others; a tuple is one value that is a list. A job
    that fails stops no other, and stands in the comparison with its error.
    """
    path = Path(directory) if directory else unused("multirun_outputs", "%Y-%m-%d_%H-%M-%S")
    given = [*words, *words_of_settings(settings, axes=True)]
    finished(["-m", *given], "hydra.sweep.dir", path, quiet)
    return compare(path)


def unused(root: str, pattern: str) -> Path:
    """A new directory that is named by the time, as the command line names one."""
    path = Path(root, datetime.now().strftime(pattern))
    others = (path.with_name(f"{path.name}-{number}") for number in range(2, 1000))
    return next(each for each in (path, *others) if not each.exists())


def words_of_settings(settings: Mapping[str, Any], axes: bool = False) -> Iterator[str]:
    """Words of the command line for settings as Python values.

    Args:
        axes: whether a list stands for several jobs.

    Raises:
        UserError: an axis without values.
    """
    for key, value in settings.items():
        if isinstance(value, dict) and "." not in key:
            yield from words_of_group(key, value, axes)
        elif axes and isinstance(value, list):
            if not value:
                raise UserError(f"{key}=[]: has no values, so there is no job; give one at least")
            yield f"{key}={','.join(in_hydra_grammar(plain_value(each)) for each in value)}"
        else:
            yield f"{key}={in_hydra_grammar(plain_value(value))}"


def words_of_group(group: str, values: Mapping[str, Any], axes: bool) -> Iterator[str]:
    """Words for the keys of a group, however deep its dictionaries are."""
    for name, value in values.items():
        key = f"{group}.{name}"
        yield from (
            words_of_group(key, value, axes) if isinstance(value, dict) else words_of_settings({key: value}, axes)
        )


def plain_value(value: Any) -> Any:
    """A value as the command line can hold it: a run is its directory, a number of NumPy one of Python."""
    if isinstance(value, Run):
        return str(value.directory)
    if isinstance(value, dict):
        return {key: plain_value(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(entry) for entry in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if hasattr(value, "item") else value


def finished(words: list[str], key: str, path: Path, quiet: bool) -> dict[str, Any]:
    """Runs the program with its output in `path`, which `key` names; returns the result that it prints last.

    Raises:
        UserError: it was refused.
        RuntimeError: it ended without a result.
        KeyboardInterrupt: it was interrupted, and has saved what it had.
    """
    for word in words[1:]:
        for own, instead in OWN_WORDS.items():
            if word == own or (own.endswith("=") and word.lstrip("+").startswith(own)):
                raise UserError(f"{word}: {instead}")
    # -P: a file of the notebook's folder named like a module of Python's is none of a job's business
    command = [sys.executable, "-P", "-m", "smallgpt", *words, f"{key}={in_hydra_grammar(str(path))}"]
    env = {**os.environ, "PYTHONPATH": python_path(), "PYTHONUNBUFFERED": "1"}
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    result: dict[str, Any] | None = None
    held = ""  # the last error, which is not also printed where it is raised
    interrupted = False

    def tell(text: str) -> None:
        if not quiet:
            print(text, end="", flush=True)

    with subprocess.Popen(command, env=env, text=True, errors="replace", **pipes) as process:
        assert process.stdout is not None
        while True:
            try:
                for line in process.stdout:
                    if (found := as_result(line)) is not None:
                        result = found
                    elif line.startswith("error: "):
                        tell(held)
                        held = line
                    else:
                        tell(held + line)
                        held = ""
                break
            except KeyboardInterrupt:
                interrupted = True
                process.send_signal(signal.SIGINT)  # a terminal sends it too; so soon the run takes both for one
        code = process.wait()
    if interrupted:
        tell(held)
        raise KeyboardInterrupt
    if result is None:
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        raise RuntimeError(f"{path}: {how}, without a result {held}".strip())
    refused = result["status"] == "refused"
    if not refused or held.strip() != f"error: {result['error']}":
        tell(held)
    if refused:
        raise UserError(str(result["error"]))
    return result


def as_result(line: str) -> dict[str, Any] | None:
    """The result that a line of output is; None for any other line."""
    if not line.startswith('{"'):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "status" in found else None
