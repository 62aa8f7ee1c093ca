"""What the program is started in: a folder that is gone, an output that is full, too little memory. One line each."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import RUN

from smallgpt.errors import UserError
from smallgpt.launch import command_line
from smallgpt.launch.rephrase import rephrase

WORDS = [sys.executable, str(RUN), "model=convgtp"]
REFUSED = "error: model=convgtp: no such choice"


def test_the_current_folder_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    done = subprocess.run(WORDS, capture_output=True, text=True)
    os.chdir(tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["error: the current folder does not exist any more; change to another one"]


def test_standard_output_is_full(tmp_path: Path):
    with open("/dev/full", "w") as full:
        done = subprocess.run(WORDS, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0].startswith(REFUSED) and lines[1:] in ([], [lines[-1]]) and "Traceback" not in done.stderr
    assert lines[-1].startswith("error: ")


def test_the_address_space_is_small(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10**9, 10**9))
    with pytest.raises(UserError, match=r"^the address space is limited to 1 GB \(ulimit -v\)"):
        command_line.refuse_surroundings()


def test_a_missing_package_is_named():
    error = ModuleNotFoundError("No module named 'altair'", name="altair")
    assert rephrase(error) == "altair is not installed; `pip install altair`"


def test_a_terminal_gets_a_sentence_and_a_pipe_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    command_line.announce({"status": "completed"}, tmp_path / "result.json")
    assert capsys.readouterr().out == '{"status": "completed"}\n'
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    command_line.announce({"status": "completed"}, tmp_path / "result.json")
    assert capsys.readouterr().out == f"completed: the result is in {tmp_path}/result.json\n"
    command_line.announce({"status": "refused", "error": "x"})
    assert capsys.readouterr().out == ""
