"""What a user sees when something is wrong: one line, and a traceback only if HYDRA_FULL_ERROR=1 asks for it."""

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, cast

from hydra.core.utils import env_override
from omegaconf import OmegaConf

from smallgpt.errors import UserError, one_line
from smallgpt.packages import private

# read before `guarded` sets the variable for Hydra
TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"


def guarded(main: Callable[[], Any]) -> int:
    """Runs the Hydra application; returns the exit code of what Hydra could not compose."""
    # argparse takes no values after an option that follows values
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))
    try:
        with private("hydra-core"):
            from hydra._internal.utils import get_args_parser
        options = [word for word in get_args_parser().parse_known_args()[1]]
        if options:
            name = options[0].lstrip("-")
            raise UserError(f"{options[0]}: no such option; a value is given as {name}=<value>")
        # without it Hydra prints its own, longer messages and exits
        with env_override({"HYDRA_FULL_ERROR": "1"}):
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


def complain(message: str) -> None:
    """One line on standard error, after the traceback if the user asks for it."""
    if TRACEBACKS:
        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr, flush=True)


def refuse(message: str) -> None:
    """For what is wrong before any work: the line, and a result that says the same."""
    complain(message)
    announce({"status": "refused", "error": message})


def announce(result: dict[str, Any]) -> None:
    """The result as the last line on standard output."""
    from smallgpt.results import plain_json

    print(json.dumps(plain_json(result), allow_nan=False), flush=True)


def own_tracebacks() -> Any:
    """Within it the environment is as the user gave it, for processes that a task starts."""
    return env_override({"HYDRA_FULL_ERROR": "1" if TRACEBACKS else "0"})


def given(hydra: Any) -> list[str]:
    """The words of the command line that a job was composed with, `${...}` in them left as it is."""
    return [str(word) for word in cast(list, OmegaConf.to_container(hydra.overrides.task, resolve=False))]


def unexpected(error: BaseException) -> str:
    """What to say of an error that is no fault of the user's."""
    return f"{type(error).__name__}: {one_line(error)}"
