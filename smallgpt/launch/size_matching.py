"""What a config is compared with a baseline for: its size (`match=params|flops|latency`) and its decoding latency."""

import json
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from smallgpt.errors import Impossible, one_line


def matched_size(fields: dict[str, Any], baseline: tuple[Any, Any], variant: str, cache_dir: Path) -> Any:
    """The model at the size where it costs what the baseline does, given by its class and config."""
    match, config = fields["match"], fields["model"]
    try:
        if match.quantity == "latency":
            from smallgpt.models.matching import solve
            from smallgpt.speed.latency import Latencies

            latencies = Latencies(fields["model_class"], config, *baseline, fields["trainer"], cache_dir)
            return solve(config, latencies.quantity, match.depth, match.tolerance)
        how = (match.quantity, match.exclude_embeddings, match.depth, match.tolerance)
        found = solved_before(*class_and_fields(config), *class_and_fields(baseline[1]), *how)
        return replace(found, config=deepcopy(found.config), before=config)  # whose configs nobody else may change
    except ValueError as error:
        raise Impossible(f"match.to={match.to}: {variant or config.model_type}: {one_line(error)}") from error


@lru_cache(maxsize=256)  # of a sweep, whose jobs differ in seeds and rates more than in sizes: 40 ms each
def solved_before(
    config_class: type,
    config: str,
    baseline_class: type,
    baseline: str,
    quantity: Literal["params", "flops"],
    exclude_embeddings: bool,
    depth: bool,
    tolerance: float,
) -> Any:
    """The size at which a model costs what a baseline does, both given by their classes and fields as JSON."""
    from smallgpt.models.matching import closed_form, solve

    target = closed_form(baseline_class(**json.loads(baseline)), quantity, exclude_embeddings)
    return solve(config_class(**json.loads(config)), target, depth, tolerance)


def class_and_fields(config: Any) -> tuple[type, str]:
    """Class of a config, and all of its fields as JSON."""
    return type(config), json.dumps({key: getattr(config, key) for key in config.settable()})


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
