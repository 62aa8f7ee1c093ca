"""Jobs of a proof of concept as they lie on the disk, without training."""

from pathlib import Path
from typing import Any

from sweeps import job

LABELS = ["bug", "wish"]
EVALUATION = {
    "tasks": {
        "crows_pairs_english": {"accuracy": 0.55, "interval": [0.5, 0.6], "n": 100, "by": {}, "bits_per_byte": 2.5},
    },
    "continuations": {"hit_rate": 0.1, "hit_rate_interval": [0.05, 0.2], "distinct_2": 0.8},
}


def answers(right: int, n: int = 400, from_the_end: bool = False) -> str:
    """Which of `n` examples are answered right, as a result has them."""
    row = "1" * right + "0" * (n - right)
    return row[::-1] if from_the_end else row


def form(right: str, milliseconds: float, **more: Any) -> dict[str, Any]:
    """One form of a candidate; an answer takes ten times as long as a token."""
    n, hits = len(right), right.count("1")
    wrong = {"place": "/home/x/tickets.csv, line 7", "prompt": "it is <b>broken</b>", "answer": "bug"}
    spread = {"median": milliseconds / 1000, "low": milliseconds / 1100, "high": milliseconds / 900}
    return {
        "test": {
            **{"accuracy": hits / n, "accuracy_interval": [0, 1], "macro_f1": 0.8, "matthews": 0.7},
            **{"calibration_error": 0.05, "n": n, "confusion": [[hits // 2, n - hits], [0, hits - hits // 2]]},
        },
        "right": right,
        "worst": [{**wrong, "prediction": "wish", "probability": 0.99}] if hits < n else [],
        "bits_per_byte": 1.5,
        "memory": {"bytes": 90e6, "engine": "onnx"},
        "disk_bytes": 2_000_000,
        "evaluation": EVALUATION,
        **{"prompt_tokens": 40, "new_tokens": 3, "first_token_seconds": spread},
        "seconds_per_token": spread,
        "answer_seconds": {key: 10 * value for key, value in spread.items()},
        **{"tokens_per_second": 300.0, "answers_per_second": 100 / milliseconds},
        **more,
    }


def candidate(
    sweep: Path,
    variant: str,
    seed: int,
    forms: dict[str, dict[str, Any]],
    joules: float | None = None,
    data: str = "text-a",
    **more: Any,
) -> Path:
    """The next job of a proof of concept; `more` replaces what the user has asked."""
    asked = {"limits": {}, "margin": 0.02, "requests_per_day": 10_000, "price_per_hour": None, "batch": 1}
    known = {"accuracy": 0.5, "accuracy_interval": [0.45, 0.55], "macro_f1": 0.3, "n": 400}
    section = {
        **asked,
        "labels": LABELS,
        "majority": known,
        "trained": {"seconds": 60.0, "tokens": 1e6, "joules": joules},
        "adapted": {"seconds": 30.0, "epochs": 3.0, "examples": 1400, "joules": joules, "stopped_early": False},
        "before": {
            **known,
            "bits_per_byte": {"examples": {"before": 2.5, "after": 1.5}},
            "evaluation": EVALUATION,
        },
        "forms": {name: {"form": name, **each} for name, each in forms.items()},
        **more,
    }
    return job(sweep, variant, seed, None, "task=poc", data=data, poc=section, question="Which one sorts our tickets?")
