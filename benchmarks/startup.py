"""How long `run.py --help` takes, against a Python that only imports Hydra, in turn.

python -m benchmarks.startup
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 7
RUN = str(Path(__file__).parents[1] / "run.py")


def seconds(*words: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    pairs = [(seconds(RUN, "--help"), seconds("-c", "import hydra")) for _ in range(ROUNDS)]
    ours, hydra = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"run.py --help {ours:.2f} s, import hydra {hydra:.2f} s, ratio {ours / hydra:.2f}")


if __name__ == "__main__":
    main()
