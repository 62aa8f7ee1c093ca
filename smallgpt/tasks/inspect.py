"""`task=inspect` checks a config and says what it would cost, in time too on this machine; it trains nothing."""

from pathlib import Path
from typing import Any

from smallgpt.errors import UserError
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
    expected = forecast(settings, card["steps"])
    print_cost_card(settings, card, expected)
    return {"cost": card, **match(settings), **latency(settings), **({"forecast": expected} if expected else {})}


def forecast(settings: Settings, steps: int | None) -> dict[str, Any]:
    """Section `forecast` of a result: speed and time of the training on this machine; nothing where it cannot run here.

    Args:
        steps: optimizer steps of the run; None where only the run itself can tell.
    """
    from smallgpt.machine.allocator import keep_freed_memory
    from smallgpt.machine.device import device, resolved_precision
    from smallgpt.training.processes import share_cores
    from smallgpt.training.step_time import step_time

    try:
        where = device(settings.trainer.accelerator, settings.trainer.devices)
    except UserError:  # it is to run elsewhere
        return {}
    keep_freed_memory()
    share_cores(settings.trainer)
    step = step_time(settings, where, resolved_precision(settings.trainer.precision, where))
    if step is None:
        return {}
    return {
        "tokens_per_second": settings.batch.tokens / step.seconds,
        "seconds": settings.budget.seconds if steps is None else steps * step.seconds,
        "measured": step.measured,
        "device": str(where),
    }


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
