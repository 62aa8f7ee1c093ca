"""Pictures of a sweep, from the runs' metrics.csv alone."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path


def validation_curve(run_dir: Path, name: str = "val/loss") -> tuple[list[float], list[float]]:
    """Tokens seen and validation loss, or another metric, from metrics.csv; empty where nothing was validated."""
    path = run_dir / "metrics.csv"
    if not path.exists():
        return [], []
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get(name)]
    return [float(row["tokens"]) for row in rows], [float(row[name]) for row in rows]


def draw_loss(runs: Mapping[str, Path], path: Path) -> bool:
    """Validation loss against tokens, a line for each labelled run directory; False if no run has a curve."""
    from matplotlib.figure import Figure

    curves = {label: curve for label, run_dir in runs.items() if (curve := validation_curve(run_dir))[0]}
    if not curves:
        return False
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    styles = ("-", "--", ":", "-.")  # equal runs lie on each other; the dashes show both
    for number, (label, (tokens, loss)) in enumerate(curves.items()):
        axes.plot(tokens, loss, styles[number % len(styles)], marker="o", markersize=3, label=label)
    axes.set(xlabel="training tokens", ylabel="validation loss (nats a token)")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    temporary = path.with_name(f".{path.name}")
    figure.savefig(temporary, format=path.suffix[1:], dpi=150)
    os.replace(temporary, path)
    return True
