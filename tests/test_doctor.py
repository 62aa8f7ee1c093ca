"""task=doctor: a verdict a line, what fails ends in an error, and nothing of it hangs."""

import subprocess
from pathlib import Path

import pytest
from command_line import CommandLine

from smallgpt.data import hub as hub_access
from smallgpt.machine import examination
from smallgpt.tasks import doctor


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch):
    """Without the compiler and W&B, which take seconds."""
    monkeypatch.setattr(examination, "compiler", lambda: examination.Verdict("compiler", "ok", "there"))
    monkeypatch.setattr(doctor, "wandb_login", lambda: examination.Verdict("w&b", "ok", "there"))


def test_each_thing_has_a_line_and_a_verdict(cli: CommandLine, quick: None):
    done = cli("task=doctor", "hydra.run.dir=run")
    assert done.code == 0 and done.err == ""
    verdicts = done.result["doctor"]
    assert {"packages", "cores", "memory", "outputs", "cache", "processor", "gpu", "compiler", "w&b", "hub"} <= {
        *verdicts
    }
    lines = done.out.splitlines()
    for line, (subject, verdict) in zip(lines, verdicts.items(), strict=False):
        assert line == f"{verdict['level']:<6} {subject:<18} {verdict['text']}"
    assert verdicts["hub"]["text"].startswith("HF_HUB_OFFLINE is set: ") and verdicts["hub"]["level"] == "note"
    assert lines[-2].startswith("the default run will work; ")
    assert cli.tree() == {"run", "run/config.yaml", "run/result.json"}


def test_what_no_run_can_do_without_is_an_error(cli: CommandLine, quick: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(examination, "free_bytes", lambda: 1e9)

    def broken() -> examination.Verdict:
        raise ImportError("libcuda.so: wrong\nversion")

    monkeypatch.setattr(examination, "gpu", broken)
    done = cli("task=doctor")
    assert done.code == 1
    assert done.err == "error: no run will work on this machine as it is: memory, gpu\n"
    assert done.result["doctor"]["gpu"] == {"level": "fails", "text": "libcuda.so: wrong version"}
    assert "1 GB free of " in done.result["doctor"]["memory"]["text"]


def test_the_hub_is_asked_for_a_few_seconds_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_access, "reachable", lambda: False)
    assert "does not answer within 5 s" in doctor.hub().text
    monkeypatch.setattr(hub_access, "reachable", lambda: True)
    assert doctor.hub().level == "ok"


@pytest.mark.parametrize(
    ("requirement", "wrong"),
    [
        ("torch>=2.1", ""),
        ("torch>=99", " is installed, and >=99 is needed"),
        ("no-such-package>=1", "no-such-package is not installed"),
    ],
)
def test_releases_that_do_not_work_are_named(requirement: str, wrong: str):
    found = doctor.unmet(requirement)
    assert found.endswith(wrong) and bool(found) == bool(wrong)


def test_a_missing_package_says_what_will_not_work():
    found = doctor.optional("search", ("no_such_module",), "hydra/sweeper=optuna", "optuna")
    said = "no_such_module not installed: hydra/sweeper=optuna will not work; `pip install optuna`"
    assert str(found) == f"note   search             {said}"


def test_cores_that_others_use_are_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.getloadavg", lambda: (0.1, 0, 0))
    assert examination.cores().level == "ok"
    monkeypatch.setattr("os.getloadavg", lambda: (999.0, 0, 0))
    assert "busy, so times that are measured now say little" in examination.cores().text


def test_a_folder_that_takes_no_files_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert examination.folder("outputs", tmp_path / "to" / "come").level == "ok"
    assert list(tmp_path.iterdir()) == []
    assert examination.folder("outputs", Path("/proc/none")).level == "fails"

    def unlocked(*_: object, **__: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(examination, "FileLock", unlocked)
    found = examination.folder("outputs", tmp_path)
    assert found.level == "fails" and "(No locks available)" in found.text and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("free", "level"), [(1e6, "fails"), (2e9, "note"), (1e12, "ok")])
def test_a_full_disk_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, level: str):
    usage = type("Usage", (), {"free": free, "total": free})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    assert examination.folder("cache", tmp_path).level == level
    assert examination.shared_memory(tmp_path).level == ("note" if free < 1e9 else "ok")


def test_a_compiler_that_fails_or_hangs_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert examination.compiler().text == "CXX=no-such-compiler is not installed: compile=true will not work"
    monkeypatch.setenv("CXX", "false")
    assert examination.compiler().level == "note"

    def hangs(command: list[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(command, 20)

    monkeypatch.setattr("subprocess.run", hangs)
    assert "timed out after 20 seconds: compile=true will not work" in examination.compiler().text
