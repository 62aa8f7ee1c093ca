"""Values in the grammar of Hydra's command lines."""

import re
from typing import Any

BARE = re.compile(r"(?:\.{0,2}/)?[A-Za-z_][\w./-]*", re.ASCII)  # a text that needs no quotes


def in_hydra_grammar(value: Any) -> str:
    """A value as a command line of Hydra writes it, with quotes where a text would be read as something else."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{in_hydra_grammar(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(in_hydra_grammar, value)) + "]"
    if isinstance(value, str) and not BARE.fullmatch(value):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return str(value)
