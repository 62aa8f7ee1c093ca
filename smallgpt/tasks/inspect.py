"""`task=inspect` checks a config and says what it would cost; it prepares and trains nothing."""

from pathlib import Path
from typing import Any

from smallgpt.settings import Settings


def run(settings: Settings, run_dir: Path) -> dict[str, Any]:
    """Prints the cost card and returns its section `cost`."""
    from smallgpt.contract.required import require_contract
    from smallgpt.models.cost import training_cost, training_memory
    from smallgpt.reporting.cost_card import print_cost_card

    require_contract(settings.model_class, settings.model, settings.cache_dir, f"model={settings.variant}")
    price = training_cost(settings.model, settings.teacher)
    card = {
        **price.to_dict(),
        "schedule": settings.model.schedule_string(),
        "training_memory_bytes": training_memory(settings.model, settings.micro_batch_size),
        **budget_section(settings, price.training_flops_per_token, price.parameters),
    }
    print_cost_card(settings, card)
    return {"cost": card, **match(settings), **latency(settings)}


def match(settings: Settings) -> dict[str, Any]:
    """Section `match` of a result: what the size was solved for; nothing where it was not solved."""
    return {"match": settings.matched.to_dict()} if settings.matched else {}


def latency(settings: Settings) -> dict[str, Any]:
    """Section `latency` of a result: what a token takes to decode here; nothing where it was not measured."""
    return {"latency": settings.decoding} if settings.decoding else {}


def budget_section(settings: Settings, flops: float, parameters: int) -> dict[str, Any]:
    """Steps, tokens and training FLOPs of the whole run; None where only the run itself can tell."""
    steps = settings.steps(flops)
    if steps is None:
        return dict.fromkeys(("steps", "tokens", "training_flops", "tokens_per_parameter"))
    tokens = steps * settings.batch.tokens
    return {
        "steps": steps,
        "tokens": tokens,
        "training_flops": flops * tokens,
        "tokens_per_parameter": tokens / parameters,
    }
