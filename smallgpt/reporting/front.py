"""The Pareto front of a search with several metrics: its points, their table, and the command that trains each."""

import shlex
from collections.abc import Sequence

from smallgpt.errors import program
from smallgpt.models.matching import amount
from smallgpt.reporting.arms import Arm
from smallgpt.reporting.evaluation_tables import Cell, Table
from smallgpt.reporting.jobs import ReportedJob
from smallgpt.reporting.statistics import mean, mean_with_interval
from smallgpt.reporting.study import Comparison

OF_THE_SEARCH = {"seed", "experiment", "study", "resume", "question", "baseline", "tune"}
"""Keys of a search's jobs that do not belong to what one of them trains."""
FRONT, BASELINE = "front", "baseline"


def on_the_front(arms: Sequence[Arm], metrics: Sequence[str], split: str = "val") -> list[Arm]:
    """The arms that no other beats: one that is nowhere worse, and somewhere better. Those without a number are none.

    They stand in the order of the first metric.
    """
    measured = {arm.label: values for arm in arms if (values := values_of(arm, metrics, split)) is not None}
    front = [arm for arm in arms if arm.label in measured and not beaten_by(arm, arms, measured)]
    return sorted(front, key=lambda arm: measured[arm.label])


def beaten_by(arm: Arm, arms: Sequence[Arm], measured: dict[str, list[float]]) -> Arm | None:
    """The first arm that is nowhere worse than another one, and somewhere better; None for a point of the front."""
    own = measured[arm.label]
    for other in arms:
        theirs = measured.get(other.label)
        if theirs is not None and theirs != own and all(a <= b for a, b in zip(theirs, own, strict=True)):
            return other
    return None


def values_of(arm: Arm, metrics: Sequence[str], split: str) -> list[float] | None:
    """Means of the metrics over the seeds of an arm; None where one was not measured."""
    found = [list(by_seed(arm, metric, split).values()) for metric in metrics]
    return [sum(values) / len(values) for values in found] if all(found) else None


def by_seed(arm: Arm, metric: str, split: str) -> dict[int | None, float]:
    """A metric of an arm by seed; one of the validation is read on the split that is reported."""
    section, *path = metric.split(".")
    return arm.found(split if section == "val" else section, *path)


def front_tables(comparison: Comparison) -> list[Table]:
    """The points of the front and their commands; below them whatever else was trained on several seeds."""
    metrics, split = comparison.metrics, comparison.split
    front = on_the_front(comparison.arms, metrics, split) if metrics else []
    if not front:
        return []
    measured = {arm.label: values for arm in comparison.arms if (values := values_of(arm, metrics, split))}
    behind = [arm for arm in comparison.arms if arm not in front and arm.label in measured and len(arm.jobs) > 1]
    timed = "latency.seconds_per_token" not in metrics and any(arm.found("latency") for arm in front)
    rows = []
    for arm in [*front, *behind]:
        better = None if arm in front else beaten_by(arm, comparison.arms, measured)
        is_baseline = arm in comparison.references
        texts = [
            arm.label,
            ", ".join([f"beaten by {better.label}" if better else FRONT, *([BASELINE] if is_baseline else [])]),
            *(metric_text(metric, list(by_seed(arm, metric, split).values())) for metric in metrics),
            *([milliseconds(arm)] if timed else []),
            str(len(arm.jobs)),
            command_of(arm.jobs[0]),
        ]
        rows.append([Cell(text, best=arm in front and i == 0) for i, text in enumerate(texts)])
    names = [split + metric.removeprefix("val") if metric.startswith("val.") else metric for metric in metrics]
    columns = ["arm", "point", *names, *(["ms a token"] if timed else []), "seeds", "command"]
    return [Table(columns, rows, {"arm", "point", "command"}, notes(comparison))]


def notes(comparison: Comparison) -> list[str]:
    """Sentences that the table needs to be read."""
    found = ["On the front are the arms that no other beats: none is as good in every metric and better in one."]
    if any(len(arm.jobs) > 1 for arm in comparison.arms):
        found.append("Means over seeds, with half of the 95 % interval; an arm near the front may belong to it.")
    for search in comparison.searches:
        words = shlex.join(["-m", "experiment=frontier_finals", f"hydra.sweeper.front={search}"])
        found.append(
            "Chosen on the search's seed, so in part by luck. On fresh seeds, beside gpt and the paper's variants: "
            f"{program()} {words} (budget.tokens= trains them for longer)"
        )
    return found


def milliseconds(arm: Arm) -> str:
    """Measured time of a token, the shortest of an arm's: whatever disturbs a measurement makes it longer."""
    found = arm.found("latency", "seconds_per_token").values()
    return f"{1000 * min(found):.3g}" if found else ""


def metric_text(metric: str, values: Sequence[float]) -> str:
    """Mean of a metric with its interval, and with its unit where it is a time."""
    score = mean(values)
    if metric.endswith("seconds_per_token"):
        return amount(score.value, "seconds a token")
    if all(isinstance(value, int) for value in values):
        return f"{score.value:,.0f}"
    return mean_with_interval(score)


def command_of(job: ReportedJob) -> str:
    """Command that trains what a job of a search has trained, without the search."""
    return f"{program()} {shlex.join(words_of_point(job))}"


def words_of_point(job: ReportedJob) -> list[str]:
    """Words of a job that say what it trains."""
    recipe = ["task=poc"] if job.result.get("task") == "poc" else []  # whose keys no other task takes
    return [*recipe, *(word for word in job.words if key_of(word) not in OF_THE_SEARCH)]


def key_of(word: str) -> str:
    """Key or group that a word of the command line sets."""
    return word.lstrip("+~").partition("=")[0].partition("@")[0]
