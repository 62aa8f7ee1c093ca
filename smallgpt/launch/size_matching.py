"""The size at which a variant costs what the baseline does: `match=params|flops|latency`."""

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
