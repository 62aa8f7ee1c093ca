"""Signals that ask a run to stop: which they are, when one is a second one, and what is left to the main process."""

import os
import signal
import stat
import time
from contextlib import suppress
from typing import Any

from smallgpt.ranks import end_with_the_starter

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""The last two are how Slurm warns."""
SAME_SECONDS = 1.0
"""A signal that follows another so soon is the same wish: `timeout` tells a process, and then its whole group."""


class Stopped(SystemExit):
    """Exit after a signal with the code 128 + its number, as a shell has it, if a cluster's own handler has none."""

    def __init__(self, number: int, what: str, code: Any = None) -> None:
        super().__init__(code or 128 + number)
        self.number = number
        self.message = f"{signal.Signals(number).name}: {what}"

    def __str__(self) -> str:
        return self.message


class StopRequest:
    """What signals have asked a run for so far."""

    def __init__(self) -> None:
        self.number = 0
        """The first signal; 0 where none came."""
        self._when = 0.0

    def is_new(self, number: int) -> bool:
        """Notes a signal; returns whether it asks for the first time or once more, and not again for the same."""
        if number == signal.SIGHUP:
            leave_closed_terminal()
        now = time.monotonic()
        if self.number and now - self._when < SAME_SECONDS:
            return False
        self.number, self._when = self.number or number, now
        return True


def leave_closed_terminal() -> None:
    """Sends what is still printed nowhere if its terminal is gone: a print would fail, and with it what is to save."""
    for stream in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(stream).st_mode) and not os.isatty(stream):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream)
                os.close(nowhere)


def leave_signals_to_the_main_process(*_: Any) -> None:
    """Prepares a worker process: signals to the whole group are for the main process, and the worker ends with it."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    end_with_the_starter(signal.SIGKILL)
