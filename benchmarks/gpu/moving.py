"""Step `moving`: a run that begins on the CPU goes on on the GPU and then on the CPU again, and ends as one that stays.

In fp32 without dropout, whose random numbers differ between devices. The runs are forks of this process, which for that
reason never asks for the GPU itself.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks.gpu.rows import check
from benchmarks.kill_and_resume import training
from benchmarks.lives import Life

LEG = 10_240  # tokens from one move to the next
CLOSE = 0.01  # nats of validation loss, over 60 steps whose sums are rounded in another order
REPLACED = ("budget.", "model.dropout", "resume=")


def measure(folder: Path, tiny: bool) -> list[dict[str, Any]]:
    """Rows of a run that moves and of one that stays on the CPU."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    away = "cpu" if tiny else "gpu"
    losses = {
        "moved": loss_of(folder, "moved", ["cpu", away, "cpu"]),
        "stayed": loss_of(folder, "stayed", ["cpu", "cpu", "cpu"]),
    }
    apart = abs(losses["moved"] - losses["stayed"])
    return [check(f"validation loss of a run on CPU, {away}, CPU is that of one on the CPU", apart < CLOSE, apart)]


def loss_of(folder: Path, name: str, trainers: list[str]) -> float:
    """Validation loss at the end of a run that goes on with one trainer after the other."""
    given = training(folder, [], evaluated=False).words(name)
    shared = [word for word in given if not word.startswith(REPLACED)]
    more = ["schedule=constant", "model.dropout=0", "trainer.precision=fp32", "compile=false", "trainer.workers=0"]
    for leg, trainer in enumerate(trainers, start=1):
        words = [*shared, *more, f"trainer={trainer}", f"budget.tokens={leg * LEG}"]
        life = Life(folder, name, [*words, *(["resume=extend"] if leg > 1 else [])])
        if life.wait() or life.code:
            raise SystemExit(f"leg {leg} on {trainer} failed; see {folder / name}.log")
    return json.loads((folder / name / "result.json").read_text())["val"]["loss"]
