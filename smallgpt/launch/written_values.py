"""Values as other programs write them, in Hydra's words: `wandb agent` starts `run.py --optimizer.lr=0.001`."""

import ast
import re
from collections.abc import Iterator
from typing import Any

from smallgpt.hydra_grammar import in_hydra_grammar
from smallgpt.launch.hydra_options import option_names

DASHED = re.compile(r"--(?P<key>[A-Za-z_][\w./@]*)=(?P<value>.*)", re.S)
OF_A_DICTIONARY = re.compile(r"(?P<key>[+~]*[A-Za-z_][\w./@]*)=(?P<value>\{.*\})", re.S)
TEMPLATE = re.compile(
    r"(?P<key>[+~]*(?:data\.(?:template|prompt|completion)|poc\.template))=(?P<value>[^'\"].*[{}].*|[{].*)", re.S
)
"""A template of the data, whose braces Hydra would take for a dictionary."""
QUESTION = re.compile(r"(?P<key>[+~]*(?:poc\.)?question)=(?P<value>(?!null$)[^'\"].*)", re.S)
"""A question in plain language, whose commas Hydra would take for a sweep over its parts."""


def as_values(words: list[str]) -> list[str]:
    """The same words with `--key=value` as `key=value`, and with one word for each key of a dictionary.

    Of a group, `optimizer={'lr': 0.001}` becomes `optimizer.lr=0.001`; elsewhere a dictionary stays one, in Hydra's
    grammar, which has no quotes around keys.
    """
    options = option_names()
    return [value for word in words for value in of_dictionary(quoted_text(undashed(word, options)))]


def quoted_text(word: str) -> str:
    """A word with quotes around its value where that is a template or a question; any other word as it is."""
    if (found := TEMPLATE.fullmatch(word) or QUESTION.fullmatch(word)) is None:
        return word
    return f"{found['key']}='" + found["value"].replace("'", "\\'") + "'"


def undashed(word: str, options: set[str]) -> str:
    """A word without the dashes that another program wrote, and Python's None as null; Hydra's options stay."""
    written = DASHED.fullmatch(word)
    if written is None or f"--{written['key']}" in options:
        return word
    return f"{written['key']}={'null' if written['value'] == 'None' else written['value']}"


def of_dictionary(word: str) -> Iterator[str]:
    """Words for the entries of a dictionary as Python or JSON writes it; any other word alone."""
    written = OF_A_DICTIONARY.fullmatch(word)
    values = read_dictionary(written["value"]) if written else None
    if written is None or values is None:
        yield word
    elif "." in written["key"]:
        yield f"{written['key']}={in_hydra_grammar(values)}"
    else:
        yield from entries(written["key"], values)


def entries(key: str, values: dict[str, Any]) -> Iterator[str]:
    """A word for each value that a dictionary holds, however deep."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from entries(f"{key}.{name}", value)
        else:
            yield f"{key}.{name}={in_hydra_grammar(value)}"


def read_dictionary(text: str) -> dict[str, Any] | None:
    """The dictionary that a text writes with quoted keys; None where it does not."""
    for word, name in (("null", "None"), ("true", "True"), ("false", "False")):  # of JSON
        text = re.sub(rf"(?<=[:\[, ]){word}(?=[,}}\] ])", name, text)
    try:
        values = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return values if isinstance(values, dict) and all(isinstance(key, str) for key in values) else None
