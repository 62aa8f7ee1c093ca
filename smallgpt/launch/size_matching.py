"""What a config is compared with a baseline for: its size (`match=params|flops|latency`) and its decoding latency."""

from pathlib import Path
from typing import Any

from smallgpt.errors import Impossible, one_line


def matched_size(fields: dict[str, Any], baseline: tuple[Any, Any], variant: str, cache_dir: Path) -> Any:
    """The model at the size where it costs what the baseline does, given by its class and config."""
    from smallgpt.models.matching import closed_form, solve

    match, config = fields["match"], fields["model"]
    try:
        if match.quantity == "latency":
            from smallgpt.speed.latency import Latencies

            quantity = Latencies(fields["model_class"], config, *baseline, fields["trainer"], cache_dir).quantity
        else:
            quantity = closed_form(baseline[1], match.quantity, match.exclude_embeddings)
        return solve(config, quantity, match.depth, match.tolerance)
    except ValueError as error:
        raise Impossible(f"match.to={match.to}: {variant or config.model_type}: {one_line(error)}") from error


def decoding_latency(fields: dict[str, Any], baseline: tuple[Any, Any], cache_dir: Path) -> dict[str, float]:
    """Section `latency` of a result: seconds per token of the model, and of the baseline that was measured beside it.

    It is measured where the settings are loaded: in a sweep before any job of the batch runs.
    """
    from smallgpt.speed.latency import Latencies

    config = fields["model"]
    own, of_baseline = Latencies(fields["model_class"], config, *baseline, fields["trainer"], cache_dir).of(config)
    return {
        "seconds_per_token": own,
        "baseline_seconds_per_token": of_baseline,
        "times_baseline": own / of_baseline,
    }
