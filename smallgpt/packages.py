"""Packages that are missing, and members of packages that are: what to say and to install; W&B as we import it."""

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from typing import Any

from smallgpt.errors import UserError, one_line


def require(key: str, *modules: str, install: str = "", instead: str = "") -> None:
    """Raises UserError where a package that a key of the command line needs is not installed.

    Args:
        key: the words of the command line that need them, with which the message begins.
        modules: as they are imported.
        install: what pip is to install; empty: the first missing module, with dashes.
        instead: what does without them, such as `logger=csv`.

    Raises:
        UserError: names the first module that is missing, and how to install it.
    """
    for module in modules:
        if find_spec(module) is None:
            name = module.replace("_", "-")
            other = f", or {instead}" if instead else ""
            raise UserError(f"{key}: {name} is not installed; `pip install {install or name}`{other}")


@contextmanager
def private(package: str) -> Generator[None]:
    """Around each use of a member that a package does not promise to keep, and that another release may not have.

    pyproject.toml bounds the releases of such a package from above, and names the member.

    Args:
        package: as pip names it.

    Raises:
        UserError: the installed release lacks the member; names both and what to install.
    """
    try:
        yield
    except (AttributeError, ImportError) as error:
        reason = re.sub(r" \(/.*\)$", "", one_line(error))  # without the path of the module's file
        raise UserError(f"{package} {version(package)}: {reason}, which smallgpt needs; {cure(package)}") from error


def cure(package: str) -> str:
    """What installs a release of a package that smallgpt works with."""
    try:
        needed = requires("smallgpt") or []
    except PackageNotFoundError:
        return "pyproject.toml says which releases have it"
    [requirement] = {text.partition(";")[0].strip() for text in needed if re.match(rf"{package}\b[^-\[]", text)}
    return f"`pip install '{requirement}'`"


def imported_wandb() -> Any:
    """The library, which reports errors and its own usage to its makers only where the environment asks for that."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    return wandb
