"""Standard output and error of a run: whatever becomes of them, the work goes on and its result is written.

A reader that goes away (`| head`), a full disk or a closed terminal end what is printed, not what is computed; a
character that the terminal's encoding lacks is written as an escape.
"""

import errno
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any


class SteadyStream:
    """Stream in the place of standard output or error, which falls silent where writing is no longer possible."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.error: OSError | ValueError | None = None
        """Why nothing is written any more."""

    def write(self, text: str) -> int:
        if self.error is None:
            try:
                return self.stream.write(text)
            except UnicodeEncodeError:
                encoding = self.stream.encoding or "ascii"
                return self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            except (OSError, ValueError) as error:  # the latter from a stream that was closed
                self.fall_silent(error)
        return len(text)

    def flush(self) -> None:
        if self.error is None:
            try:
                self.stream.flush()
            except (OSError, ValueError) as error:
                self.fall_silent(error)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def fall_silent(self, error: OSError | ValueError) -> None:
        """Sends what is still to be written nowhere, also what Python or a library flushes at the end."""
        self.error = error
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def steady_streams() -> Generator[SteadyStream | None]:
    """Context in which printing cannot fail; yields what stands for standard output, None where that is closed."""
    before = sys.stdout, sys.stderr
    out, err = (None if stream is None else SteadyStream(stream) for stream in before)
    sys.stdout, sys.stderr = out, err
    try:
        yield out
    finally:
        for stream in (out, err):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


def lost_output(stream: SteadyStream | None) -> str | None:
    """What is to be said of output that was lost; None where nothing was, or its reader had enough, as `head` has."""
    if stream is None or not isinstance(stream.error, OSError) or stream.error.errno == errno.EPIPE:
        return None
    return f"standard output: {stream.error.strerror}; what was printed is lost, not what was written to files"
