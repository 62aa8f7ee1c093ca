"""The price of an answer: what the best arm costs beside its baseline, and what the whole study has cost."""

from dataclasses import dataclass

from smallgpt.reporting.axis_units import Measure, duration
from smallgpt.reporting.ranking import answer
from smallgpt.reporting.study import Comparison, Study

EQUAL = 0.0005  # shares of a cost that are shown as equal
PRICES = {  # what a job's result may have
    ("cost", "parameters"): Measure("parameters"),
    ("train", "flops"): Measure("training compute", "FLOP"),
    ("train", "tokens"): Measure("training tokens"),
    ("train", "seconds"): Measure("training time", "s"),
    ("train", "peak_memory_bytes"): Measure("peak memory", "B"),
    ("cost", "inference_flops_per_token"): Measure("inference compute a token", "FLOP"),
    ("cost", "cache_bytes_per_token"): Measure("cache a token", "B"),
    ("latency", "seconds_per_token"): Measure("time a generated token", "s"),
    ("inference", "seconds_per_token"): Measure("time a generated token", "s"),
}


@dataclass(frozen=True)
class Price:
    """One cost of the best arm, beside that of what it is held against."""

    name: str
    best: str
    rival: str
    ratio: float

    @property
    def more(self) -> str:
        """Such as `+3.1 %`."""
        return "equal" if abs(self.ratio - 1) < EQUAL else f"{100 * (self.ratio - 1):+.1f} %"


def prices(comparison: Comparison) -> list[Price]:
    """Costs that the best arm and its rival both have."""
    best, rival = answer(comparison)
    if best is None or rival is None:
        return []
    found: dict[str, Price] = {}
    for (section, key), measure in PRICES.items():
        ours, theirs = best.cost(section, key), rival.cost(section, key)
        if ours is not None and theirs:
            found.setdefault(measure.name, Price(measure.name, measure.text(ours), measure.text(theirs), ours / theirs))
    return list(found.values())


def price_sentence(comparison: Comparison) -> str | None:
    """What the best arm costs, in words; None where it is compared with nothing."""
    best, rival = answer(comparison)
    found = prices(comparison)
    if not found or best is None or rival is None:
        return None
    return f"The price of {best.label} beside {rival.label}: {', '.join(f'{each.name} {each.more}' for each in found)}."


def study_cost(study: Study) -> str:
    """What all jobs have taken together, as far as they say."""
    sections = [job.section("train") for job in study.jobs]
    seconds = sum(section.get("seconds") or 0 for section in sections)
    tokens = sum(section.get("tokens") or 0 for section in sections)
    flops = sum(
        (section.get("tokens") or 0) * (job.section("cost").get("training_flops_per_token") or 0)
        for section, job in zip(sections, study.jobs, strict=True)
    )
    found = [f"{duration(seconds)} of training"] if seconds else []
    found += [f"{Measure('tokens').text(tokens)} tokens"] if tokens else []
    found += [Measure("compute", "FLOP").text(flops)] if flops else []
    return ", ".join(found)
