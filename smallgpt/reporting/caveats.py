"""What must stand beside a verdict: how the jobs of a comparison differ beside their arms, and what weakens a score."""

from collections.abc import Sequence

from smallgpt.errors import shown
from smallgpt.models.matching import amount
from smallgpt.reporting.jobs import ReportedJob
from smallgpt.reporting.study import Comparison
from smallgpt.reporting.tuning_notes import edge_warnings, length_warnings

VERSIONS = ("torch", "lightning", "transformers", "python", "commit", "cpu", "gpu")
"""Keys of the environment that may change a loss, or its last bits."""
MOST_EPOCHS = 4  # repeated more often, text is worth less and less
SHORT_COMMIT = 10  # letters of a commit that name it
MOST_JOBS = 6  # that are named


def caveats(comparison: Comparison) -> list[str]:
    """Sentences, most of them warnings; none where nothing is wrong."""
    jobs = [job for arm in comparison.arms for job in arm.jobs]
    found = [sentence for key in VERSIONS if (sentence := differing("environment", key, jobs))]
    if len({job.config.get("trainer.precision") for job in jobs}) == 1:  # else it is what they are to differ in
        found += filter(None, [differing("train", "precision", jobs)])
    found += [*edge_warnings(comparison), *length_warnings(comparison), *matching_warnings(comparison)]
    found += dict.fromkeys(f"Warning: {text}." for job in jobs for text in job.result.get("warnings") or ())
    silent = [job for job in jobs if "warnings" not in job.result]
    often = [number for job in silent if (number := epochs(job)) is not None and number > MOST_EPOCHS]
    if often:
        found.append(
            f"Warning: the training text was read up to {max(often):.2g} times, over {MOST_EPOCHS}: repeated text is "
            "worth less and less."
        )
    if any(job.section("val").get("bits_per_byte_comparable") is False for job in silent):
        found.append("Warning: the tokenizer loses text, so bits per byte cannot be compared with another tokenizer's.")
    shares = {share for arm in comparison.arms for share in arm.found("data", "overlap").values()}
    if shares:
        found.append(f"Of the 13-grams of the held-out text, {share_text(max(shares))} occur in the training text.")
    return found


def share_text(share: float) -> str:
    """Share in percent; one that is small, but not nothing, is not shown as nothing."""
    return "under 0.01%" if 0 < share < 1e-4 else f"{share:.2%}"


def matching_warnings(comparison: Comparison) -> list[str]:
    """Warnings where not all arms are matched to one target."""
    targets = {
        amount(match["target"], match["quantity"]): None
        for arm in comparison.arms
        for match in arm.found("match").values()
    }
    found = []
    if len(targets) > 1:
        found.append(f"Warning: not all are matched to one target, but to {' or '.join(targets)}.")
    if targets and (alone := [arm.label for arm in comparison.arms if not arm.found("match")]):
        found.append(f"Warning: not matched: {', '.join(alone)}.")
    return found


def differing(section: str, key: str, jobs: Sequence[ReportedJob]) -> str | None:
    """Names the jobs of each value of an entry of their results, where it is not the same for all that have it."""
    found: dict[str, list[str]] = {}
    for job in jobs:
        if key in (values := job.section(section)):
            value = shown(values[key])
            found.setdefault(value[:SHORT_COMMIT] if key == "commit" else value, []).append(job.name)
    if len(found) < 2:
        return None
    each = [f"{value} ({jobs_text(names)})" for value, names in found.items()]
    return f"Warning: not all jobs ran with the same {key}: {', '.join(each)}; a difference may be due to that."


def jobs_text(names: Sequence[str]) -> str:
    """Names of jobs in words, the first few of many."""
    more = f" and {len(names) - MOST_JOBS} more" if len(names) > MOST_JOBS else ""
    return f"job{'s' if len(names) > 1 else ''} {', '.join(names[:MOST_JOBS])}{more}"


def epochs(job: ReportedJob) -> float | None:
    """How often the training text was read."""
    read, size = job.section("train").get("tokens"), job.section("data").get("train_tokens")
    own = job.section("train").get("epochs")
    return own if own is not None else read / size if read and size else None
