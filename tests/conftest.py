"""What every test runs under: one thread, no network, no hub."""

import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from command_line import CommandLine

from smallgpt.launch import resolvers
from smallgpt.launch.main import PLUGINS

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
with suppress(ImportError):  # Hydra's set-up of logging closes its stream, which would be pytest's own
    from absl import logging

    logging.get_absl_handler().python_handler.stream = sys.__stderr__
resolvers.register()
sys.path.append(PLUGINS)  # Hydra looks for its plugins once


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """run.py in an empty folder with an empty cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMALLGPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    return CommandLine(tmp_path, monkeypatch, capsys)
