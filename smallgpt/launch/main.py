"""The program: `smallgpt` where the package is installed, `python run.py` in a checkout.

Hydra composes the config from the command line and hands it to the chosen task.
"""

import os
import sys
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from smallgpt.launch import resolvers
from smallgpt.launch.command_line import end_output, guarded
from smallgpt.launch.config_files import CONF

PLUGINS = str(Path(__file__).parent)
"""Folder in which Hydra finds the namespace package `hydra_plugins`, with the launchers and sweepers."""


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def composed(cfg: DictConfig) -> dict[str, Any]:
    """Does one job with the config that Hydra has composed, and returns its result."""
    from smallgpt.launch.job import run_job

    return run_job(cfg)


def main() -> int:
    """Does what the command line says; returns the exit code of what was refused."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # its tables would stand before our one line
    resolvers.register()
    if PLUGINS not in sys.path:
        sys.path.append(PLUGINS)
    try:
        code = guarded(composed)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return end_output() or code
