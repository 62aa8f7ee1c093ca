"""A bench on which small, fast decoder-only language models are compared."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smallgpt.api.calls import run, sweep, train
    from smallgpt.api.runs import Run, load
    from smallgpt.api.sweeps import Sweep, compare
    from smallgpt.errors import UserError

__version__ = "0.1.0"

# Here, since a library reads its own at its first import, whoever imports it, and child processes inherit them
QUIET = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Variables that keep libraries from reporting to their makers; what the user has set stays."""

for _name, _value in QUIET.items():
    os.environ.setdefault(_name, _value)

_LAZY = {
    **dict.fromkeys(("train", "run", "sweep"), "smallgpt.api.calls"),
    **dict.fromkeys(("load", "Run"), "smallgpt.api.runs"),
    **dict.fromkeys(("compare", "Sweep"), "smallgpt.api.sweeps"),
    "UserError": "smallgpt.errors",
}

__all__ = ["Run", "Sweep", "UserError", "compare", "load", "run", "sweep", "train"]


def __getattr__(name: str) -> Any:
    # `import smallgpt` stays cheap: whoever only wants the version, or the quiet above, loads nothing
    if name not in _LAZY:
        raise AttributeError(f"module 'smallgpt' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
