"""Step `resume`: a run that is killed goes on to the same bits, with kernels that give the same ones every time.

Without these, two runs of the same command end apart; how far is measured. The runs are forks of this process, which
for that reason never asks for the GPU itself, and they compile nothing, to save their start.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks.gpu.rows import check, row
from benchmarks.kill_and_resume import compare, training

KILLS = 4


def measure(folder: Path, tiny: bool) -> list[dict[str, Any]]:
    """Rows of kills with deterministic kernels, and of two runs without."""
    shutil.rmtree(folder, ignore_errors=True)
    words = [f"trainer={'cpu' if tiny else 'gpu'}", "trainer.workers=0", "compile=false"]
    kills, apart = folder / "kills", folder / "apart"
    for each in (kills, apart):
        each.mkdir(parents=True)
    different, done = compare(kills, 1 if tiny else KILLS, [*words, "trainer.deterministic=true"])
    work = training(apart, words, evaluated=False)
    for name in ("one", "other"):
        work.whole(name)
    return [
        check(f"{done} kills: the same bits", not different, "; ".join(different)),
        *distance(apart / "one", apart / "other"),
    ]


def distance(one: Path, other: Path) -> list[dict[str, Any]]:
    """Rows of how far two runs of the same command ended apart."""
    from safetensors.torch import load_file

    weights = [load_file(run / "checkpoints" / "last" / "model.safetensors") for run in (one, other)]
    furthest = max((weights[0][name] - weights[1][name]).abs().max().item() for name in weights[0])
    losses = [json.loads((run / "result.json").read_text())["val"]["loss"] for run in (one, other)]
    return [
        row("without deterministic kernels: furthest weights", furthest),
        row("without deterministic kernels: validation losses apart", abs(losses[0] - losses[1]), "nats"),
    ]
