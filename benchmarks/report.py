"""What the report of a large study costs: 100 arms of 10 seeds, made up around the config of a real run.

python -m benchmarks.report [FOLDER]
"""

import csv
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import yaml

from smallgpt.models.convgpt import ConvGPTConfig
from smallgpt.models.cost import cost
from smallgpt.models.gpt import GPTConfig
from smallgpt.models.lineargpt import LinearGPTConfig
from smallgpt.models.parallelgpt import ParallelGPTConfig
from smallgpt.reporting.report import report
from smallgpt.reporting.study import read_study

ROOT = Path(__file__).parents[1]
VARIANTS = {"gpt": GPTConfig, "parallelgpt": ParallelGPTConfig, "lineargpt": LinearGPTConfig, "convgpt": ConvGPTConfig}
RATES = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)
RATIOS = (2, 3, 4, 5, 6)
SEEDS = range(1, 11)
STEPS, EVERY, TOKENS = 400, 10, 2048
COLUMNS = ["step", "tokens", "seconds", "flops", "train/loss", "train/lr", "train/grad_norm"]
COLUMNS += ["speed/tokens_per_second", "speed/mfu", "val/loss", "val/perplexity", "val/bits_per_byte"]


def write_sweep(folder: Path) -> None:
    """Writes the run directories of a study that nobody has trained."""
    with tempfile.TemporaryDirectory() as real:
        words = ["task=inspect", "size=debug", f"hydra.run.dir={real}"]
        subprocess.run([sys.executable, str(ROOT / "run.py"), *words], check=True, stdout=subprocess.DEVNULL)
        config = yaml.safe_load((Path(real) / "config.yaml").read_text())
    chance = random.Random(0)
    for number, ((variant, make), rate, ratio, seed) in enumerate(product(VARIANTS.items(), RATES, RATIOS, SEEDS)):
        size = {"vocab_size": 320, "n_layer": 4, "n_head": 2, "n_embd": 64, "block_size": 32, "mlp_ratio": ratio}
        costs = cost(make(**size, allow_narrow=True)).to_dict()
        run_dir = folder / str(number)
        run_dir.mkdir(parents=True)
        quality = 3.8 + 0.05 * list(VARIANTS).index(variant) + 0.02 * math.log2(rate / 4e-3) ** 2 - 0.01 * ratio
        end = quality + chance.gauss(0, 0.01)
        write_metrics(run_dir, end, costs["training_flops_per_token"], chance)
        tokens = STEPS * TOKENS
        result = {
            "status": "completed",
            "error": None,
            "task": "train",
            "variant": variant,
            "choices": {"model": variant, "size": "debug"},
            "overrides": [f"model={variant}", f"optimizer.lr={rate}", f"model.mlp_ratio={ratio}", f"seed={seed}"],
            "seed": seed,
            "cost": costs,
            "data_fingerprint": "made up",
            "warnings": [],
            "train": {"tokens": tokens, "steps": STEPS, "seconds": 200.0, "tokens_per_second": tokens / 200},
            "val": {"loss": end, "perplexity": math.exp(end), "bits_per_byte": end / 2},
            "samples": ["Nobody has trained this."],
            "environment": {"python": "3.11.7", "torch": "2.13.0", "cpu": "a processor", "gpu": None},
        }
        (run_dir / "result.json").write_text(json.dumps(result))
        config["model"] |= {"_target_": f"smallgpt.models.{variant}", "mlp_ratio": ratio}
        config["optimizer"]["lr"] = rate
        (run_dir / "config.yaml").write_text(yaml.safe_dump(config | {"seed": seed}, sort_keys=False))


def write_metrics(run_dir: Path, end: float, flops: float, chance: random.Random) -> None:
    """Writes a curve that falls to `end`, with a validation at every fourth row."""
    with (run_dir / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for step in range(EVERY, STEPS + 1, EVERY):
            loss = end + 2 * (1 / step - 1 / STEPS) * EVERY
            spent = [step, step * TOKENS, step / 2, step * TOKENS * flops]
            noisy = loss + chance.gauss(0, 0.05)
            writer.writerow([*spent, noisy, 4e-3 * (1 - step / STEPS), 0.5 + 5 / step, 4096 + chance.gauss(0, 99), 0.2])
            if step % (4 * EVERY) == 0:
                writer.writerow([*spent, "", "", "", "", "", loss, math.exp(loss), loss / 2])


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        if not (folder / "0").exists():
            write_sweep(folder)
        start, cpu = time.perf_counter(), time.process_time()
        report(read_study([folder]), folder)
        page = folder / "report.html"
        figures = list((folder / "figures").glob("*"))
        print(
            f"{time.process_time() - cpu:.1f} s of CPU ({time.perf_counter() - start:.1f} s), report.html "
            f"{page.stat().st_size / 1e6:.1f} MB, {len(figures)} figures, "
            f"{sum(path.stat().st_size for path in figures) / 1e6:.1f} MB"
        )


if __name__ == "__main__":
    main()
