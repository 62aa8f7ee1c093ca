"""Hydra's own options of a command line, such as `-m` and `--config-dir`, apart from its values."""

import sys
from argparse import Namespace
from collections import Counter

from smallgpt.packages import private


def hydra_options(words: list[str] | None = None) -> tuple[Namespace, list[str]]:
    """Hydra's options with the values under `overrides`, and the words that it does not know.

    Args:
        words: a command line without the program; None: this process's own.
    """
    with private("hydra-core"):
        from hydra._internal.utils import get_args_parser
    return get_args_parser().parse_known_args(sys.argv[1:] if words is None else words)


def option_names() -> set[str]:
    """Hydra's options as they are written, such as `--multirun` and `-m`."""
    with private("hydra-core"):
        from hydra._internal.utils import get_args_parser

        return set(get_args_parser()._option_string_actions)


def options_first(words: list[str]) -> list[str]:
    """The same words with Hydra's options before the values: argparse takes no values after an option among them."""
    given, rest = hydra_options(words)
    left = Counter([*given.overrides, *[word for word in rest if not word.startswith("-")]])
    options, values = [], []
    for word in words:
        left[word] -= 1
        (options if left[word] < 0 else values).append(word)
    return [*options, *values]
