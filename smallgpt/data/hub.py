"""Access to the hub: its cache where the hub does not answer, and an error of one line where neither has the data."""

import errno
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from smallgpt.errors import UserError, one_line

PATIENCE_SECONDS = 5.0


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
def errors(setting: str, instead: str, local: bool = False) -> Generator[None]:
    """Context of calls that load from the hub: offline they see its cache alone; failures are one line.

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
        yield
    except UserError:
        raise
    except Exception as error:
        if _disk_is_full(error):
            home = huggingface_hub.constants.HF_HOME
            raise UserError(
                f"{setting}: the disk of the hub's cache, {home}, is full; make room, or set HF_HOME to another folder"
            ) from None
        if offline:
            raise UserError(f"{setting}: the hub cannot be reached and its cache has no copy; use {instead}") from None
        reason = one_line(error)[:200]
        raise UserError(f"{setting}: cannot be loaded ({reason}); or use {instead}") from None
    finally:
        for switch, value in before:
            switch.HF_HUB_OFFLINE = value
