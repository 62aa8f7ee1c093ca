"""Step `jobs`: several small trainings on one card at the same time, as a sweep with `hydra.launcher.n_jobs` runs them.

A small model leaves most of a card idle, and processes take turns on it, so that several together may make more tokens
than one. The runs are forks of this process, which for that reason never asks for the GPU itself.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from benchmarks.gpu.rows import row
from benchmarks.kill_and_resume import training
from benchmarks.lives import Life
from smallgpt.machine.device import GPU_SHARE


def measure(folder: Path, tiny: bool) -> list[dict[str, Any]]:
    """Tokens a second of all trainings together, for one and for several of them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rates = {at_once: together(folder, at_once, tiny) for at_once in ((1, 2) if tiny else (1, 2, 4, 8))}
    return [
        *(
            row(f"{at_once} at once: tokens a second, all together", rate, "tokens/s")
            for at_once, rate in rates.items()
        ),
        *(row(f"{at_once} at once: over one", rates[at_once] / rates[1], "x") for at_once in list(rates)[1:]),
    ]


def together(folder: Path, at_once: int, tiny: bool) -> float:
    """Tokens a second of so many trainings at once, each with its share of the card."""
    size = "debug" if tiny else "nano"
    words = [f"trainer={'cpu' if tiny else 'gpu'}", "compile=false", "trainer.workers=0", "validation.every=100000"]
    of_size = [f"size={size}", "batch.tokens=8192", f"budget.seconds={2 if tiny else 12}"]
    given = training(folder, [], evaluated=False).words
    os.environ[GPU_SHARE] = str(1 / at_once)
    lives = []
    for number in range(at_once):
        name = f"{at_once}-{number}"
        kept = [word for word in given(name) if not word.startswith(("size=", "batch.", "budget.", "validation.every"))]
        lives.append(Life(folder, name, [*kept, *words, *of_size]))
    for life in lives:
        if life.wait() or life.code:
            raise SystemExit(f"{life.name} failed; see {folder / life.name}.log")
    results = [json.loads((folder / life.name / "result.json").read_text()) for life in lives]
    return sum(result["train"]["tokens_per_second"] for result in results)
