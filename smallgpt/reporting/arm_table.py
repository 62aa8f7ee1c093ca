"""The table of a comparison, a row an arm."""

from functools import lru_cache

from smallgpt.errors import shown
from smallgpt.models.matching import amount
from smallgpt.reporting.answer_scores import OF_ANSWERS, baselines, main_score, of_baseline
from smallgpt.reporting.arms import Arm
from smallgpt.reporting.axis_units import duration
from smallgpt.reporting.caveats import epochs
from smallgpt.reporting.naming import short_names
from smallgpt.reporting.ranking import ranked
from smallgpt.reporting.statistics import SPLITS, Difference, compare_arms, mean, mean_with_interval, p_text
from smallgpt.reporting.study import Comparison
from smallgpt.reporting.tables import scaled

ARM = "arm"
OVER_DOCUMENTS = "over documents [95 %]"
COSTS = {
    *("matched to", "off by", "parameters", "training FLOPs", "training time", "epochs", "tokens / parameter"),
    *("tokens/s", "cache B / token"),
}
"""Columns that a page shows in a table of their own."""


@lru_cache(maxsize=8)
def arm_table(comparison: Comparison) -> list[dict[str, str]]:
    """Rows of texts under the same names, the lowest loss first; columns that no arm fills are left out."""
    gaps = compare_arms(comparison)
    rows = [arm_row(comparison, arm, gaps.get(arm.label)) for arm in ranked(comparison)]
    filled = [name for name in rows[0] if any(arm_row[name] for arm_row in rows)]
    return [{name: arm_row[name] for name in filled} for arm_row in rows]


def arm_row(comparison: Comparison, arm: Arm, gap: Difference | None) -> dict[str, str]:
    """Texts of an arm by the names of the columns, empty where it has none."""
    loss = list(comparison.losses(arm).values())
    bits = list(arm.by_seed("bits_per_byte", comparison.split).values())
    tokens, parameters = arm.number("train", "tokens"), arm.number("cost", "parameters")
    speed, cache = arm.number("train", "tokens_per_second"), arm.number("cost", "cache_bytes_per_token")
    flops, read = arm.cost("train", "flops"), epochs(arm.jobs[0])
    baseline, seconds = comparison.baseline_of(arm), arm.number("train", "seconds")
    answers = {name: list(arm.by_seed(key, comparison.split).values()) for key, name in OF_ANSWERS.items()}
    if key := main_score(comparison.arms, comparison.split):
        beside = baselines(comparison.arms)
        answers |= {f"{OF_ANSWERS[key]} of {name}": of_baseline(arm, name, key) for name in beside}
    return {
        ARM: arm.label,
        **{short: tried_text(arm, key) for key, short in short_names(comparison.tuned_keys).items()},
        f"{SPLITS[comparison.split]} loss": mean_with_interval(mean(loss) if loss else None),
        "difference [95 %]": "baseline" if arm in comparison.references and loss else difference_text(gap),
        "p": "" if gap is None or gap.p is None else p_text(gap.p),
        "verdict": "" if gap is None else gap.verdict,
        "baseline": baseline.label if baseline and not comparison.baseline else "",
        "seeds": str(len(arm.jobs)),
        "bits per byte": mean_with_interval(mean(bits) if bits else None),
        OVER_DOCUMENTS: over_documents(arm, comparison.split),
        **{name: mean_with_interval(mean(values) if values else None) for name, values in answers.items()},
        "matched to": matched_to(arm),
        "off by": ", ".join(dict.fromkeys(f"{match['difference']:+.2%}" for match in arm.found("match").values())),
        "parameters": "" if parameters is None else f"{parameters:,.0f}",
        "training FLOPs": "" if flops is None else scaled(flops, "").strip(),
        "training time": "" if seconds is None else duration(seconds),
        "epochs": "" if read is None else f"{read:.2g}",
        "tokens / parameter": "" if tokens is None or not parameters else f"{tokens / parameters:.3g}",
        "tokens/s": "" if speed is None else f"{speed:,.0f}",
        "cache B / token": "" if cache is None else f"{cache:,.0f}",
    }


def tried_text(arm: Arm, key: str) -> str:
    """Such as `0.002 of 0.001, 0.002, 0.004`."""
    if arm.tuning is None or key not in arm.tuning.chosen:
        return ""
    values = dict.fromkeys(trial.values[key] for trial in arm.tuning.tried if key in trial.values)
    return f"{shown(arm.tuning.chosen[key])} of {', '.join(map(shown, values))}"


def matched_to(arm: Arm) -> str:
    """What the size was solved for; several targets where the jobs of an arm do not agree."""
    found = arm.found("match").values()
    return ", ".join(dict.fromkeys(amount(match["target"], match["quantity"]) for match in found))


def over_documents(arm: Arm, split: str) -> str:
    """The interval of a run's bits per byte over held-out documents; of several seeds, the mean of its ends."""
    found = list(arm.found(split, "bits_per_byte_interval").values())
    if not found:
        return ""
    low, high = (sum(ends) / len(found) for ends in zip(*found, strict=True))
    return f"[{low:.4f}, {high:.4f}]"


def difference_text(gap: Difference | None) -> str:
    """Difference with its 95 % interval, where there is one."""
    if gap is None:
        return ""
    if gap.low is None or gap.high is None:
        return f"{gap.value:+.4f}"
    return f"{gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
