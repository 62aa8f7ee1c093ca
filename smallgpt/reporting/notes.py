"""Sentences that a table of arms needs to be read, and what must be known of a whole study."""

from smallgpt.errors import shown
from smallgpt.reporting.arms import DATA
from smallgpt.reporting.budget_notes import budget_notes
from smallgpt.reporting.caveats import jobs_text
from smallgpt.reporting.identical import first_of_each, identical
from smallgpt.reporting.statistics import SPLITS, compare_arms
from smallgpt.reporting.study import Comparison, Study
from smallgpt.reporting.tuning_notes import tuning_notes

MOST_LEFT_OUT = 3  # combinations that are named beside a verdict; a table has all
SOLVED_FOR = ("n_embd", "n_layer", "mlp_ratio")


def arm_notes(comparison: Comparison) -> list[str]:
    """How the numbers were made, as far as the table has them."""
    gaps = compare_arms(comparison)
    tested = [gap for gap in gaps.values() if gap.p is not None]
    found = tuning_notes(comparison)
    if any(len(comparison.losses(arm)) > 1 for arm in comparison.arms):
        found.append("± is half of the 95 % t interval of the mean over seeds.")
    if any(arm.found(comparison.split, "bits_per_byte_interval") for arm in comparison.arms):
        found.append(
            "Over documents: the interval of one run's bits per byte, over the held-out documents, which is another "
            "source of noise than the seeds; arms are compared on the same documents."
        )
    if any(gap.kind == "paired" for gap in tested):
        over = f", {comparison.baseline.label}," if comparison.baseline else " at equal other choices,"
        found.append(
            f"Difference: the arm less the baseline{over} over the seeds that both have, with its 95 % interval; p: "
            "two-sided paired t test."
        )
    if any(gap.kind == "unpaired" for gap in tested):
        found.append("Where two arms share fewer than two seeds, Welch's test of unpaired samples was used.")
    first = first_of_each(comparison)
    several = len({first[label] for label, gap in gaps.items() if gap.p is not None})
    if several > 1:
        found.append(f"p is corrected by Holm's method for {several} comparisons; the intervals are not.")
    if tested:
        found.append(
            "No difference: the interval contains 0; the seeds show none, more of them might. "
            "Not certain: it leaves 0 out, but the corrected p is over 0.05."
        )
    for same in [group for group in identical(comparison) if len(group) > 1]:
        names = " and ".join(arm.label for arm in same)
        found.append(
            f"{names} are identical: their costs are the same and their losses equal to the last bit; they count once."
        )
    if alone := [
        arm.label for arm in comparison.arms if arm not in comparison.references and not comparison.baseline_of(arm)
    ]:
        found.append(f"No baseline has the same other choices as {', '.join(alone)}.")
    sizes = {
        f"{arm.label} {' '.join(f'{key}={match[key]:.4g}' for key in SOLVED_FOR if match.get(key))}": None
        for arm in comparison.arms
        for match in arm.found("match").values()
    }
    if sizes:
        found.append(f"Sizes were solved for: {', '.join(sizes)}.")
    found += budget_notes(comparison)
    weights = {text: None for arm in comparison.arms for text in arm.found(comparison.split, "checkpoint").values()}
    if weights:
        found.append(f"The {SPLITS[comparison.split]} loss is that of checkpoints/{' or '.join(weights)}.")
    return found


def about_the_study(study: Study) -> list[str]:
    """Sentences about all jobs of a study."""
    found = []
    if study.repeated:
        names = jobs_text([job.name for job in study.repeated])
        found.append(f"Left out, because the same arm has the same seed already: {names}.")
    status: dict[str, list[str]] = {}
    for job in study.unfinished:
        status.setdefault(job.status, []).append(job.name)
    found += [f"Not in the comparison, because {name}: {jobs_text(jobs)}." for name, jobs in status.items()]
    machines = {(env.get("cpu"), env.get("gpu")) for job in study.jobs if (env := job.section("environment"))}
    if len(machines) > 1:
        found.append("The jobs ran on different machines: do not compare their tokens/s or seconds.")
    if study.left_out:
        words = "; ".join(words for words, _ in study.left_out[:MOST_LEFT_OUT])
        more = f" and {len(study.left_out) - MOST_LEFT_OUT} more" if len(study.left_out) > MOST_LEFT_OUT else ""
        found.append(f"Combinations left out, because they make no model ({len(study.left_out)}): {words}{more}.")
    return found


def about_the_data(study: Study, comparison: Comparison) -> str:
    """Why a comparison stands alone."""
    words = [
        f"{key}={shown(value)}" for key, value in comparison.arms[0].named.items() if key.partition(".")[0] in DATA
    ]
    chosen = f", {' '.join(words)}" if words else ""
    what = f"fingerprint {comparison.fingerprint[:12]}{chosen}" if comparison.fingerprint else "no data"
    return (
        f"{what}: {len(comparison.arms)} of {len(study.arms)} arms. The jobs differ in their text or tokenizer, "
        "so these losses cannot be compared with those of the other sections."
    )
