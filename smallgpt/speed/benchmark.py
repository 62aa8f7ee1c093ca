"""Benchmark of models at inference, measured in turn on this machine, beside what their FLOPs and bytes promise."""

import statistics
from collections.abc import Callable, Collection, Sequence
from typing import Any

from smallgpt.errors import UserError
from smallgpt.machine.memory import PeakMemory, peak_memory
from smallgpt.machine.rates import Machine, matrix_rate
from smallgpt.models.configuration import DecoderConfig
from smallgpt.models.cost import cost
from smallgpt.settings import Benchmark
from smallgpt.speed.measured_models import MeasuredModel
from smallgpt.speed.roofline import Work, demand

WARM_UP_TOKENS = 4


def fitted(asked: Benchmark, context: int, chosen: Collection[str] = ()) -> tuple[list[Work], list[str]]:
    """Fits the pieces of work of a benchmark into a context; returns them and a line for each size that was cut.

    Args:
        context: context length in tokens that all models have.
        chosen: keys that the command line names; these are refused, where defaults are cut.

    Raises:
        UserError: a size on the command line is beyond the context.
    """
    lines = []

    def fit(key: str, value: int, most: int, named: bool) -> int:
        if value <= most:
            return value
        text = f"benchmark.{key}={value}: the context has {context} tokens"
        if named or most < 1:
            raise UserError(f"{text}; use at most {most}")
        lines.append(f"{text}, cut to {most}")
        return most

    names_prompts, names_new = ("benchmark.prompts" in chosen, "benchmark.new_tokens" in chosen)
    if context < 3:
        raise UserError(f"model.block_size={context}: too short a context to decode in; use at least 3")
    new = asked.new_tokens
    new = fit("new_tokens", new, context - 1 if names_new else max(2, context // 2), names_new)
    prompts = [fit("prompts", prompt or context, context, names_prompts) for prompt in asked.prompts]
    first = prompts[0]
    if first + new > context:
        if names_new and names_prompts and asked.prompts[0] is not None:
            raise UserError(f"benchmark.new_tokens={new}: a prompt of {first} leaves {context - first} in the context")
        lines.append(f"decoding follows a prompt of {context - new} tokens: the context has {context}")
    works = [Work("prefill", prompt, 1) for prompt in dict.fromkeys(prompts)]
    prompt = min(first, context - new)
    return works + [Work("decode", prompt, new, batch) for batch in asked.batches], lines


def in_turn(
    subjects: Sequence[Any],
    works: Sequence[Work],
    rounds: int,
    seconds: Callable[[Any, Work], Any] = MeasuredModel.seconds,
) -> list[dict[Work, list[Any]]]:
    """Times each work with one subject after the other in every round, so that all meet the same disturbances.

    Returns what `seconds` found in each round, for each subject by work.
    """
    times: list[dict[Work, list[Any]]] = [{work: [] for work in works} for _ in subjects]
    for _ in range(rounds):
        for work in works:
            for subject, own in zip(subjects, times, strict=True):
                own[work].append(seconds(subject, work))
    return times


def measure_models(
    subjects: Sequence[MeasuredModel], asked: Benchmark, works: Sequence[Work], machine: Machine
) -> list[dict]:
    """Measures all subjects and returns the section `inference` of each; the first is the baseline of the others."""
    for subject in subjects:
        for work in works:
            # what is compiled is so for the places of the whole work
            tokens = work.new_tokens if subject.compiled else min(work.new_tokens, WARM_UP_TOKENS)
            subject.token_times(Work(work.kind, work.prompt, tokens, work.batch))
    peaks = [{work: memory_of(subject, work) for work in works} for subject in subjects]
    times = in_turn(subjects, works, asked.rounds)
    sections = []
    for subject, own, taken in zip(subjects, times, peaks, strict=True):
        section = describe(subject, own, taken, machine) | {"rounds": asked.rounds}
        section["speed_up"] = None if subject is subjects[0] else speed_up(subjects[0], times[0], subject, own)
        section["breakdown"] = profile(subject, works) if asked.profile else None
        sections.append(section)
    return sections


def memory_of(subject: MeasuredModel, work: Work) -> PeakMemory:
    """Memory that a subject takes while it does a piece of work."""
    subject.forget()
    return peak_memory(lambda: subject.token_times(work), subject.device)


def profile(subject: MeasuredModel, works: Sequence[Work]) -> dict[str, dict[str, float]] | None:
    """Breakdown of a token's time while the subject decodes one sequence."""
    decoding = next(work for work in works if work.kind == "decode")
    return subject.breakdown(Work("decode", decoding.prompt, decoding.new_tokens))


def describe(
    subject: MeasuredModel, times: dict[Work, list[float]], peaks: dict[Work, PeakMemory], machine: Machine
) -> dict[str, Any]:
    """Section `inference` of one subject: what it takes and how much of the machine it uses."""
    weights = subject.weight_bytes
    # products in fewer bits have another limit, which is not known
    rate = None if subject.quantize in ("int8_dynamic", "int4") else matrix_rate(machine.device, subject.dtype)
    parts: dict[str, dict[str, Any]] = {"prefill": {}, "decode": {}}
    used: dict[str, dict[str, float | None]] = {"bandwidth": {}, "matrix_rate": {}}
    for work, seconds in times.items():
        middle, needs = statistics.median(seconds), demand(subject, work, subject.read_bytes)
        peak = peaks[work]
        parts[work.kind][str(work.size)] = {
            "time_to_first_token" if work.kind == "prefill" else "seconds_per_token": spread(seconds),
            "tokens_per_second": work.tokens / middle,
            "flops": needs.flops,
            "bytes": needs.bytes,
            "peak_memory_bytes": None if peak.growth is None else weights + peak.growth,
            "process_memory_bytes": peak.process,
        }
        if work.kind == "prefill":
            share = None if needs.flops is None or rate is None else needs.flops / middle / rate
            used["matrix_rate"][str(work.size)] = share
        else:
            share = None if needs.bytes is None else needs.bytes / middle / machine.bandwidth
            used["bandwidth"][str(work.size)] = share
    alone, first = parts["decode"].get("1", {}), next(iter(parts["prefill"].values()))
    decoding = next(work for work in times if work.kind == "decode")
    return {
        "seconds_per_token": alone.get("seconds_per_token", {}).get("median"),
        "tokens_per_second": alone.get("tokens_per_second"),
        "time_to_first_token": first["time_to_first_token"]["median"],
        "peak_memory_bytes": alone.get("peak_memory_bytes"),
        "process_memory_bytes": alone.get("process_memory_bytes"),
        "weight_bytes": weights,
        "weight_bytes_read_per_token": subject.read_bytes,
        **cache_bytes(subject),
        "prompt": decoding.prompt,
        "new_tokens": decoding.new_tokens,
        **parts,
        "utilisation": used,
        "kind": subject.kind,
        "quantize": subject.quantize,
        "engine": subject.engine,
        "compiled": subject.compiled,
        "dtype": str(subject.dtype).removeprefix("torch."),
        "device": str(machine.device),
        "threads": machine.threads,
        "machine": {"copy_bytes_per_second": machine.bandwidth, "matrix_flops_per_second": rate},
    }


def cache_bytes(subject: MeasuredModel) -> dict[str, int | None]:
    """Bytes of the cache per token, and of a sequence that fills the context; None where there is no closed form."""
    if not isinstance(subject.config, DecoderConfig):
        return {"cache_bytes_per_token": None, "cache_bytes_per_sequence": None}
    price = cost(subject.config, cache_dtype_bytes=subject.dtype.itemsize)
    each = price.cache_bytes_per_token
    return {
        "cache_bytes_per_token": each,
        "cache_bytes_per_sequence": each * subject.config.block_size + price.state_bytes,
    }


def speed_up(
    baseline: MeasuredModel, before: dict[Work, list[float]], subject: MeasuredModel, times: dict[Work, list[float]]
) -> dict[str, Any]:
    """Speed-up over the baseline, round by round, and what FLOPs and bytes would have it be."""
    found: dict[str, Any] = {"over": baseline.name, "prefill": {}, "decode": {}}
    for work, seconds in times.items():
        less, more = (demand(each, work, each.read_bytes) for each in (subject, baseline))
        found[work.kind][str(work.size)] = {
            "measured": spread([b / own for b, own in zip(before[work], seconds, strict=True)]),
            "flops": ratio(more.flops, less.flops),
            "bytes": ratio(more.bytes, less.bytes),
        }
    return found


def ratio(a: float | None, b: float | None) -> float | None:
    """Quotient of two numbers, None where one of them is unknown."""
    return None if a is None or b is None else a / b


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest of the values."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
