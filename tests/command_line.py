"""run.py as a user starts it, in this process, so that PyTorch is imported once for all of it."""

import json
import logging
import os
import runpy
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

RUN = Path(__file__).parents[1] / "run.py"


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        """The last line on standard output."""
        return json.loads(self.out.splitlines()[-1])


@dataclass
class CommandLine:
    """Calls run.py with words of the command line; its folder is the working directory."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    second_of_last: int | None = None
    """When the last command ended that may have left a run."""

    def __call__(self, *words: str) -> Outcome:
        self.monkeypatch.setattr(sys, "argv", [str(RUN), *words])
        # Hydra composes everything a first time to learn that no file gives a mode: half of a short command's time
        self.monkeypatch.setattr(Hydra, "get_mode", lambda *_, **__: None)
        handlers = logging.getLogger().handlers[:]
        self.capsys.readouterr()
        while int(time.time()) == self.second_of_last:  # runs are named by the second
            time.sleep(0.01)
        try:
            with pytest.raises(SystemExit) as stop:
                runpy.run_path(str(RUN), run_name="__main__")
        finally:
            GlobalHydra.instance().clear()
            HydraConfig.instance().cfg = None
            logging.getLogger().handlers[:] = handlers
        code = stop.value.code
        if not code:
            self.second_of_last = int(time.time())
        out, err = self.capsys.readouterr()
        return Outcome(0 if code is None else int(code), out, err)

    def tree(self) -> set[str]:
        """Everything in the folder but what is remembered of models, which any command may add to the cache."""
        paths = {
            os.path.relpath(os.path.join(root, name), self.folder)
            for root, folders, files in os.walk(self.folder)
            for name in (*folders, *files)
        }
        return {path for path in paths if path != "cache" and not path.startswith("cache/contract")}

    def refused(self, *words: str) -> str:
        """The message of a command that must be refused before any work, on one line, with nothing left."""
        before = self.tree()
        outcome = self(*words)
        assert outcome.code == 1
        lines = outcome.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: "), outcome.err
        message = lines[0].removeprefix("error: ")
        assert outcome.result == {"status": "refused", "error": message} or outcome.result["error"] == message
        assert outcome.result["status"] == "refused"
        assert self.tree() == before
        return message
