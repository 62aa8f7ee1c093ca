"""Lines for people on standard error, beside the results on standard output; text that others wrote; times as text."""

import re
import sys

COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that move the cursor, colour, clear, reorder or answer; tab and line break are none of them."""


def say(line: str) -> None:
    """Prints a line on standard error at once, so that it is seen while work goes on."""
    print(printable(line), file=sys.stderr, flush=True)


def show(text: str, end: str = "\n") -> None:
    """Prints text that others wrote, a model or a file, on standard output at once."""
    print(printable(text), end=end, flush=True)


def printable(text: str) -> str:
    """Text for a terminal: what would command it instead of being seen is written as an escape, such as `\\x1b`."""
    return COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def clock_time(seconds: float) -> str:
    """Text of a number of seconds, such as 4:05 or 1:04:05."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
