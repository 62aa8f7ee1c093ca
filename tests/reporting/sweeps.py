"""Sweeps as they lie on the disk, without training."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import yaml

from smallgpt.models.convgpt import ConvGPTConfig
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
COSTS["convgpt"] = cost(ConvGPTConfig(**SIZE, allow_narrow=True)).to_dict()
GROUPS = {"size": {"debug": {"model.n_layer": 4}, "nano": {"model.n_layer": 6}}}  # what a chosen file sets
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
    pairs = [word.partition("=") for word in words]
    result: dict[str, Any] = {
        "status": "completed",
        "error": None,
        "task": next((name for key, _, name in pairs if key == "task"), "train"),
        "variant": variant,
        "choices": {"model": variant, **{group: name for group, _, name in pairs if group in GROUPS}},
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
    write_config(run_dir, result["overrides"])
    return run_dir


def write_config(run_dir: Path, words: list[str]) -> None:
    """As a run leaves it: every value, whether or not the command line has it."""
    given = dict(word.lstrip("+").split("=", 1) for word in words)
    values: dict[str, Any] = {"seed": 1337, "optimizer.lr": 1e-3, "trainer.threads": None, "logger": {"mode": None}}
    values |= {"model._target_": f"smallgpt.models.{given.get('model')}", "model.n_layer": 4, "match": None}
    for group, name in given.items():
        values |= GROUPS.get(group, {}).get(name, {})
    values |= {
        key: yaml.safe_load(re.sub(r"^(\d)e-3$", r"0.00\1", value))
        for key, value in given.items()
        if key not in (*GROUPS, "experiment")
    }
    values.pop("model", None)
    config: dict[str, Any] = {}
    for key, value in values.items():
        *groups, name = key.split(".")
        node = config
        for each in groups:
            node[each] = node.get(each) or {}
            node = node[each]
        node[name] = value
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def failed(sweep: Path, error: str, *words: str) -> Path:
    """What a job that was killed leaves: no more than its command line and why."""
    run_dir = sweep / str(len(list(sweep.glob("*/result.json"))))
    run_dir.mkdir(parents=True)
    record = {"status": "failed", "error": error, "overrides": list(words)}
    (run_dir / "result.json").write_text(json.dumps(record))
    write_config(run_dir, list(words))
    return run_dir
