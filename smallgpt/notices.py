"""Lines for people on standard error, beside the results that go to standard output."""

import sys


def say(line: str) -> None:
    """Prints a line on standard error at once, so that it is seen while work goes on."""
    print(line, file=sys.stderr, flush=True)
