"""How many cores a process may use: its affinity, and the quotas of every control group around it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from smallgpt.machine import control_groups
from smallgpt.machine.cores import available_cores

ASK = "import os; os.sched_setaffinity(0, {%d}); from smallgpt.machine.cores import available_cores as a; print(a())"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty copy of the files in which Linux says it, of a machine with 64 cores."""
    monkeypatch.setattr(control_groups, "SYSTEM", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_least_quota_of_the_groups_around_it(system: Path) -> None:
    assert available_cores() == 64
    write(system / "proc/self/cgroup", "0::/outer/inner\n")
    groups = system / "sys/fs/cgroup"
    write(groups / "outer/inner/cpu.max", "max 100000\n")
    assert available_cores() == 64
    write(groups / "outer/cpu.max", "350000 100000\n")
    assert available_cores() == 3
    write(groups / "outer/inner/cpu.max", "50000 100000\n")
    assert available_cores() == 1
    write(groups / "outer/inner/cpu.max", "800000 100000\n")
    write(groups / "cpu.max", "200000 100000\n")  # a container's, whose path is its host's
    assert available_cores() == 2


def test_groups_of_version_1(system: Path) -> None:
    write(system / "proc/self/cgroup", "5:memory:/job\n4:cpu,cpuacct:/job\n")
    group = system / "sys/fs/cgroup/cpu/job"
    write(group / "cpu.cfs_period_us", "100000\n")
    write(group / "cpu.cfs_quota_us", "-1\n")
    assert available_cores() == 64
    write(group / "cpu.cfs_quota_us", "400000\n")
    assert available_cores() == 4


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="not Linux")
def test_the_affinity_of_the_process() -> None:
    core = min(os.sched_getaffinity(0))
    asked = subprocess.run(
        [sys.executable, "-c", ASK % core], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert asked.stdout == "1\n", asked.stderr
