"""Access to the hub: its cache where the hub does not answer, and an error of one line where neither has the data."""

import errno
import re
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from smallgpt.errors import UserError, one_line
from smallgpt.files import nearest_beside

PATIENCE_SECONDS = 5.0


HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
OUTPUTS = ("outputs", "multirun_outputs")  # where runs and sweeps are written


def is_hub_name(name: str) -> bool:
    """Whether a name may be one of the hub: owner/name or a name, and nothing that looks like a path of this machine.

    `outputs/...` and a name whose first part is a folder here, or close to one, are paths mistyped.
    """
    first = name.partition("/")[0]
    if not HUB_NAME.fullmatch(name) or name[0] in ".-" or first in OUTPUTS or Path(first).is_dir():
        return False
    return not nearest_beside(Path(first))


@lru_cache(maxsize=1)
def reachable() -> bool:
    """Whether the hub answers soon. Its own client would try again and again for minutes."""
    import huggingface_hub.constants as constants

    if constants.HF_HUB_OFFLINE:
        return False
    answers: list[bool] = []

    def ask() -> None:
        request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=PATIENCE_SECONDS).close()
            answers.append(True)
        except urllib.error.HTTPError as answer:
            answers.append(answer.code < 500 and answer.code != 407)
        except (OSError, ValueError):
            answers.append(False)

    # A thread, for no timeout of ours bounds a name server that does not answer.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    return answers == [True]


def _disk_is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it was made of, says so; `datasets` also looks before it writes."""
    while error is not None:
        if isinstance(error, OSError) and (error.errno == errno.ENOSPC or "Not enough disk space" in str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def within_reach(local: bool = False) -> Generator[bool]:
    """Context of calls that load from the hub, which see its cache alone where it does not answer; gives whether so.

    `local`: it is a folder, so the network has nothing to do with a failure.
    """
    import huggingface_hub.constants

    offline = not local and not reachable()
    # `datasets` keeps its own copy of the switch.
    switches: list[Any] = [huggingface_hub.constants, sys.modules.get("datasets.config")]
    before = [(switch, switch.HF_HUB_OFFLINE) for switch in switches if switch]
    for switch, value in before:
        switch.HF_HUB_OFFLINE = value or offline
    try:
        yield offline
    finally:
        for switch, value in before:
            switch.HF_HUB_OFFLINE = value


@contextmanager
def errors(setting: str, instead: str, local: bool = False) -> Generator[None]:
    """Context of calls that load from the hub, as `within_reach`; failures are one line."""
    with within_reach(local) as offline:
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            if _disk_is_full(error):
                import huggingface_hub.constants

                raise UserError(
                    f"{setting}: the disk of the hub's cache, {huggingface_hub.constants.HF_HOME}, is full; make room, "
                    "or set HF_HOME to another folder"
                ) from None
            if offline:
                raise UserError(
                    f"{setting}: the hub cannot be reached and its cache has no copy; use {instead}"
                ) from None
            raise UserError(f"{setting}: cannot be loaded ({one_line(error)[:200]}); or use {instead}") from None
