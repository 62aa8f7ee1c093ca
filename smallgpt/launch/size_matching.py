"""The size at which a variant costs what the baseline does: `match=params|flops|latency`."""

from pathlib import Path
from typing import Any

from smallgpt.errors import Impossible, one_line
from smallgpt.targets import baseline_model


def matched_size(fields: dict[str, Any], variant: str, values: dict[str, Any], cache_dir: Path) -> Any:
    """The model at the size where it costs what the baseline does at this one."""
    from smallgpt.models.matching import closed_form, solve

    match, config = fields["match"], fields["model"]
    try:
        baseline_class, baseline = baseline_model("match.baseline", match.baseline, config, values)
        if match.quantity == "latency":
            from smallgpt.speed.latency import Latencies

            both = fields["model_class"], config, baseline_class, baseline
            quantity = Latencies(*both, fields["trainer"], cache_dir).quantity
        else:
            quantity = closed_form(baseline, match.quantity, match.exclude_embeddings)
        return solve(config, quantity, match.depth, match.tolerance)
    except ValueError as error:
        raise Impossible(f"match.to={match.to}: {variant or config.model_type}: {one_line(error)}") from error
