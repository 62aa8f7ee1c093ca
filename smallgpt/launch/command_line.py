"""What a user sees when something is wrong: one line, and a traceback only if HYDRA_FULL_ERROR=1 asks for it."""

import json
import os
import resource
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from hydra.core.utils import env_override
from omegaconf import OmegaConf

from smallgpt.errors import UserError, one_line
from smallgpt.files import nearest_beside
from smallgpt.launch.hydra_options import hydra_options, options_first
from smallgpt.launch.standard_streams import lost_output, steady_streams
from smallgpt.launch.written_values import as_values
from smallgpt.notices import say

LEAST_ADDRESSES = 1.2e9  # what PyTorch, Lightning and transformers map before the first step, without a GPU
# read before `guarded` sets the variable for Hydra
TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"


def guarded(main: Callable[[], Any]) -> int:
    """Runs the Hydra application; returns the exit code of what Hydra could not compose."""
    with steady_streams() as output:
        try:
            return composed_and_run(main)
        finally:
            if output is not None:
                output.flush()
            if lost := lost_output(output):
                complain(lost)
                raise SystemExit(1)


def composed_and_run(main: Callable[[], Any]) -> int:
    """Runs the Hydra application with Hydra's options first, and without its messages; returns an exit code."""
    try:
        refuse_surroundings()
        sys.argv[1:] = options_first(as_values(sys.argv[1:]))
        given, options = hydra_options()
        if options:
            name = options[0].lstrip("-")
            raise UserError(f"{options[0]}: no such option; a value is given as {name}=<value>")
        if given.config_dir and not (folder := Path(given.config_dir)).is_dir():
            raise UserError(f"--config-dir={folder}: no such folder{nearest_beside(folder)}")
        if given.help:
            from smallgpt.launch.help import print_help

            print_help(given.overrides)
            return 0
        # without the variable Hydra prints its own, longer messages and exits
        with env_override({"HYDRA_FULL_ERROR": "1"}), warnings.catch_warnings():
            warnings.filterwarnings("error", message="provider=hydra.searchpath")  # it would go on without
            main()
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    except UserError as error:
        refuse(str(error))
        return 1
    except Exception as error:
        from smallgpt.launch.rephrase import rephrase

        refuse(rephrase(error))
        return 1
    return 0


def refuse_surroundings() -> None:
    """Raises UserError where nothing can run: in a folder that is gone, or in less memory than the libraries take."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UserError("the current folder does not exist any more; change to another one") from None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < LEAST_ADDRESSES:
        raise UserError(
            f"the address space is limited to {limit / 1e9:.2g} GB (ulimit -v), and the libraries alone take "
            f"{LEAST_ADDRESSES / 1e9:.2g} GB of it; lift the limit"
        )


def end_output() -> int:
    """Writes what is still to be printed; returns an exit code, 1 with a line of its own where that is not possible."""
    try:
        sys.stdout.flush()
        return 0
    except OSError as error:
        # what Python would try again at its end, with a traceback
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # of `| head`, which has read enough
            return 0
        complain(f"standard output cannot be written ({error.strerror})")
        return 1


def complain(message: str) -> None:
    """Prints an error as one line on standard error, below its traceback if HYDRA_FULL_ERROR=1 asks for that."""
    if TRACEBACKS:
        traceback.print_exc()
    say("error: " + message.replace("\n", "\\n"))


def refuse(message: str) -> None:
    """Reports what is wrong before any work: one line on standard error, and a result whose status is `refused`."""
    complain(message)
    announce({"status": "refused", "error": message})


def announce(result: dict[str, Any], path: Path | None = None) -> None:
    """Prints the last line on standard output: the result as JSON, or on a terminal a sentence that says where it is.

    Args:
        path: what holds the result; None where nothing was left behind, which the line of the error has said.
    """
    from smallgpt.results import plain_json

    if sys.stdout.isatty():
        if path is not None:
            print(f"{result['status']}: the result is in {path}", flush=True)
        return
    with suppress(OSError):  # a full disk behind standard output is said of at the end, once
        print(json.dumps(plain_json(result), allow_nan=False), flush=True)


def own_tracebacks() -> Any:
    """Context in which HYDRA_FULL_ERROR is as the user set it, for processes that a task starts."""
    return env_override({"HYDRA_FULL_ERROR": "1" if TRACEBACKS else "0"})


def given(hydra: Any) -> list[str]:
    """Overrides that a job was composed with, as they were written: `${...}` in them is not resolved."""
    return [str(word) for word in cast(list, OmegaConf.to_container(hydra.overrides.task, resolve=False))]


def chosen_files(hydra: Any) -> dict[str, str]:
    """The file that each group of the config was taken from, Hydra's own groups left out."""
    return {group: str(name) for group, name in hydra.runtime.choices.items() if name and "/" not in group}


def unexpected(error: BaseException) -> str:
    """Message for an error that is no fault of the user's: its type and its text, on one line."""
    return f"{type(error).__name__}: {one_line(error)}"
