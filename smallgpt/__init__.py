"""A bench on which small, fast decoder-only language models are compared."""

import os

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
