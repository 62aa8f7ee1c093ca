"""Step `tests`: the tests that need a GPU, `pytest -m gpu`."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.gpu.rows import check, row

ROOT = Path(__file__).parents[2]
MARK = "NEEDS_GPU"


def measure(folder: Path, tiny: bool) -> list[dict[str, Any]]:
    """Counts of passed, failed and skipped tests; without a GPU all are skipped."""
    files = [str(path) for path in (ROOT / "tests").rglob("test_*.py") if MARK in path.read_text()]  # others take time
    command = [sys.executable, "-m", "pytest", *files, "-m", "gpu", "-n", "0", "-q", "-rs", f"--basetemp={folder}"]
    done = subprocess.run([*command, "-p", "no:cacheprovider"], cwd=ROOT, capture_output=True, text=True)
    print(done.stdout, done.stderr)
    counts = {kind: int(number) for number, kind in re.findall(r"(\d+) (passed|failed|error|skipped)", done.stdout)}
    passed, skipped = counts.get("passed", 0), counts.get("skipped", 0)
    return [
        check("no test fails", done.returncode == 0, f"exit code {done.returncode}"),
        check("every test runs" if not tiny else "every test is skipped", bool(skipped if tiny else not skipped)),
        row("tests passed", passed),
        row("tests skipped", skipped),
    ]
