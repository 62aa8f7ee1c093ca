"""Environment of a run: versions, processor, GPU, commit of the code."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import smallgpt
from smallgpt.machine.cores import available_cores
from smallgpt.ranks import ROOT

LIBRARIES = ("torch", "lightning", "transformers")


def environment() -> dict[str, Any]:
    """Describes the environment of a run: versions, processor, threads, GPU and commit.

    It asks only for what is loaded, so that it costs nothing.
    """
    torch = sys.modules.get("torch")
    gpu = torch is not None and torch.cuda.is_available()
    return {
        "smallgpt": smallgpt.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cpus": os.cpu_count(),
        "cores": available_cores(),
        "threads": torch.get_num_threads() if torch else None,
        "gpu": torch.cuda.get_device_name() if gpu else None,
        "commit": commit(),
    }


def cpu_name() -> str:
    """Name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit(root: Path = ROOT) -> str | None:
    """Commit of the code, with `+` where its files differ or there are more of them; None outside of a repository."""
    if not (root / ".git").exists():
        return None
    try:
        described = git_says(root, "describe", "--always", "--abbrev=40", "--dirty=+")
        # a new variant is a new file, which `--dirty` does not see
        new = git_says(root, "ls-files", "--others", "--exclude-standard", "--", "smallgpt", "conf")
    except (OSError, subprocess.SubprocessError):
        return None
    return described if described.endswith("+") or not new else f"{described}+"


def git_says(root: Path, *words: str) -> str:
    """Output of a git command in a repository."""
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
