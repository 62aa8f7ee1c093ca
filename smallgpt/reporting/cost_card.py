"""The cost card: what a run would cost, before any weight exists."""

from typing import Any

from smallgpt.notices import clock_time
from smallgpt.reporting.tables import print_pairs, print_table, scaled
from smallgpt.settings import Settings


def print_cost_card(settings: Settings, cost: dict[str, Any], forecast: dict[str, Any]) -> None:
    """Prints what a run would cost, and how long it would take here, where `forecast` says that."""
    config = settings.model
    columns = ("part", "in", "out", "heads", "head width", "MLP width", "parameters")
    rows = [
        (p.label, p.in_width, p.out_width, p.n_head, p.head_width, p.mlp_width, p.parameters) for p in config.layout()
    ]
    print_table(f"{config.model_type}: {cost['schedule']}", columns, rows)
    print_pairs("parameters", {**cost["parameters_by_group"], "all": cost["parameters"]})
    training = cost["training_flops"]
    pairs = {
        **({"matched": str(settings.matched)} if settings.matched else {}),
        "context": f"{cost['sequence_length']:,} tokens",
        "training": f"{scaled(cost['training_flops_per_token'], 'FLOP')} a token",
        "inference": f"{scaled(cost['inference_flops_per_token'], 'FLOP')} a token",
        "cache": f"{scaled(cost['cache_bytes_per_token'], 'B')} a token",
        **({"decoding": decoding_line(settings.decoding)} if settings.decoding else {}),
        "fixed state": f"{scaled(cost['state_bytes'], 'B')} a sequence",
        "step": (
            f"{settings.batch.tokens:,} tokens: {settings.trainer.processes} device(s) x "
            f"{settings.accumulation} x {settings.micro_batch_size} sequences"
        ),
        "training memory": f"{scaled(cost['training_memory_bytes'], 'B')} at the peak, estimated",
        "budget": budget_line(settings, cost),
        "training in all": "depends on the budget" if training is None else scaled(training, "FLOP"),
        **({"time here": time_line(forecast)} if forecast else {}),
    }
    print_pairs("cost", pairs)


def time_line(forecast: dict[str, Any]) -> str:
    """Time of a training on this machine in words."""
    speed = f"{forecast['tokens_per_second']:,.0f} tokens/s"
    if not forecast["measured"]:
        least = f"over {clock_time(forecast['seconds'])}, " if forecast["seconds"] else ""
        return f"{least}under {speed}: the products alone at their best, for a step is too large to be measured here"
    whole = f"{clock_time(forecast['seconds'])}, " if forecast["seconds"] else ""
    return f"{whole}{speed}, measured on random tokens; validations, scoring and preparing the data not counted"


def decoding_line(latency: dict[str, float]) -> str:
    """Measured time of a token in words."""
    return f"{1000 * latency['seconds_per_token']:.3g} ms a token, {latency['times_baseline']:.3g} times the baseline's"


def budget_line(settings: Settings, cost: dict[str, Any]) -> str:
    """Budget of a run in words."""
    limit = settings.budget
    if cost["tokens"] is None:
        return f"{limit.epochs:g} epochs" if limit.seconds is None else f"{limit.seconds:g} seconds"
    each = f"{cost['tokens_per_parameter']:.4g} a parameter"
    return f"{cost['tokens']:,} tokens in {cost['steps']:,} steps, {each}"
