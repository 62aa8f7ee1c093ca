"""Sweeps as they lie on the disk, without training."""

import csv
import json
from pathlib import Path
from typing import Any

from smallgpt.models.cost import cost
from smallgpt.models.gpt import GPTConfig
from smallgpt.models.lineargpt import LinearGPTConfig
from smallgpt.models.parallelgpt import ParallelGPTConfig

SIZE = {"vocab_size": 320, "n_layer": 4, "n_head": 2, "n_embd": 64, "block_size": 32}
COSTS = {
    "gpt": cost(GPTConfig(**SIZE)).to_dict(),
    "parallelgpt": cost(ParallelGPTConfig(**SIZE)).to_dict(),
    "lineargpt": cost(LinearGPTConfig(**SIZE, allow_narrow=True)).to_dict(),
}
STEPS, TOKENS = 4, 1000


def job(
    sweep: Path,
    variant: str = "gpt",
    seed: int = 1,
    loss: float | None = 4.0,
    *words: str,
    data: str | None = "text-a",
    **more: Any,
) -> Path:
    """The next job of a sweep: its result.json and, with a loss, its metrics.csv."""
    number = len(list(sweep.glob("*/result.json")))
    run_dir = sweep / str(number)
    run_dir.mkdir(parents=True)
    result: dict[str, Any] = {
        "status": "completed",
        "error": None,
        "task": "train",
        "variant": variant,
        "overrides": [f"model={variant}", f"seed={seed}", *words],
        "seed": seed,
        "cost": COSTS.get(variant, COSTS["gpt"]),
        "data_fingerprint": data,
        "train": {"tokens": STEPS * TOKENS, "steps": STEPS, "seconds": 2.0, "tokens_per_second": 2000.0},
        "samples": [f"{variant} wrote this"],
        "environment": {"python": "3.11.7", "cpu": "a processor", "gpu": None},
    }
    if loss is not None:
        result["val"] = {"loss": loss, "perplexity": 2.0, "bits_per_byte": loss / 2}
        flops = result["cost"]["training_flops_per_token"]
        with (run_dir / "metrics.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["step", "tokens", "seconds", "flops", "train/loss", "val/loss"])
            for step in range(1, STEPS + 1):
                tokens = step * TOKENS
                writer.writerow([step, tokens, step / 2, flops * tokens, "", loss + (STEPS - step) / 10])
    (run_dir / "result.json").write_text(json.dumps(result | more))
    return run_dir


def failed(sweep: Path, error: str, *words: str) -> Path:
    """What a job that was killed leaves: no more than its command line and why."""
    run_dir = sweep / str(len(list(sweep.glob("*/result.json"))))
    run_dir.mkdir(parents=True)
    record = {"status": "failed", "error": error, "overrides": list(words)}
    (run_dir / "result.json").write_text(json.dumps(record))
    return run_dir
