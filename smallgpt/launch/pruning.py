"""Pruning: which trials of a search are given up at work, from what their validations measured so far.

With one objective Optuna's median pruner decides, with several, for which it has none, `Halving`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import optuna

from smallgpt.errors import UserError
from smallgpt.launch.objectives import objective
from smallgpt.results import validations
from smallgpt.settings import Settings

RUNGS = (1 / 8, 1 / 4, 1 / 2)
"""Shares of a trial's tokens after which it may be given up."""
LEAST_RIVALS = 3
"""Number of trials that must have come as far before any is given up."""
KNOWN_BEFORE = ("cost.", "latency.")
"""Sections of a result that are known before the training."""

Curve = list[tuple[int, float]]
"""Scores of validations, with the training tokens after which each was measured."""


class Pruning(Protocol):
    """A way to prune; what it must know of a trial it keeps in the study, for later starts too."""

    def check(self, settings: Settings) -> None:
        """Raises UserError where jobs with these settings cannot be pruned."""

    def expect(self, trial: optuna.Trial, settings: Settings) -> None:
        """Notes what is known of a trial before its training."""

    def report(self, trial: optuna.Trial, run_dir: Path) -> None:
        """Notes the validations of a trial so far."""

    def is_hopeless(self, trial: optuna.Trial) -> bool:
        """Whether a trial is to be given up."""


def pruning_for(metrics: Sequence[str]) -> Pruning:
    """The way to prune a search with these objectives."""
    return MedianPruning(metrics[0]) if len(metrics) == 1 else Halving(metrics)


class MedianPruning:
    """Pruning of a search for one score by Optuna's own median pruner, which sits in the study."""

    def __init__(self, metric: str):
        self.metric = metric

    def check(self, settings: Settings) -> None:
        if not self.metric.startswith("val."):
            raise UserError(f"hydra.sweeper.prune=true: a validation does not measure {self.metric}")

    def expect(self, trial: optuna.Trial, settings: Settings) -> None:
        pass

    def report(self, trial: optuna.Trial, run_dir: Path) -> None:
        """Reports validations to Optuna by the tokens seen, since the steps of different trials may differ in size."""
        known = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        for tokens, value in curve(run_dir, self.metric):
            if tokens not in known:
                trial.report(value, tokens)

    def is_hopeless(self, trial: optuna.Trial) -> bool:
        return trial.should_prune()


class Halving:
    """Successive halving on tokens of a search for one score of the validation and any number of costs.

    After an eighth, a quarter and half of its tokens a trial is given up where it lies in the worse half: of itself and
    of those that have come as far and cost no more than it in any objective. So a small model is never compared with
    what is larger, and one that is worse than most of what is cheaper, too, makes room.
    """

    def __init__(self, metrics: Sequence[str]):
        self.scores = [metric for metric in metrics if metric.startswith("val.")]
        self.costs = [metric for metric in metrics if not metric.startswith("val.")]

    def check(self, settings: Settings) -> None:
        if len(self.scores) != 1:
            names = " ".join(self.scores) or "none"
            raise UserError(f"hydra.sweeper.prune=true: halving needs one metric of val, not {names}")
        for metric in self.costs:
            if not metric.startswith(KNOWN_BEFORE):
                raise UserError(f"hydra.sweeper.prune=true: {metric} is not known before the training; prune=false")
        known_before(self.costs, settings)
        if planned_tokens(settings) is None:
            raise UserError("hydra.sweeper.prune=true: halves on tokens; use budget.tokens or budget.flops")

    def expect(self, trial: optuna.Trial, settings: Settings) -> None:
        """Notes what a trial costs and how many tokens it is to see; nothing where that is not known before."""
        tokens = planned_tokens(settings)
        if tokens is None or not all(metric.startswith(KNOWN_BEFORE) for metric in self.costs):
            return
        trial.set_user_attr("costs", known_before(self.costs, settings))
        trial.set_user_attr("tokens", tokens)

    def report(self, trial: optuna.Trial, run_dir: Path) -> None:
        if len(self.scores) == 1:
            found = [list(point) for point in curve(run_dir, self.scores[0])]
            if found != trial.user_attrs.get("curve", []):
                trial.set_user_attr("curve", found)

    def is_hopeless(self, trial: optuna.Trial) -> bool:
        every = [each.user_attrs for each in trial.study.get_trials(deepcopy=False)]
        return in_the_worse_half(every[trial.number], every[: trial.number] + every[trial.number + 1 :])


def in_the_worse_half(own: dict[str, Any], others: Sequence[dict[str, Any]]) -> bool:
    """Whether a trial lies in the worse half at the last rung that it has reached; all as `Halving` notes them."""
    if not (own.get("curve") and "costs" in own):
        return False
    seen = own["curve"][-1][0]
    rungs = [share * own["tokens"] for share in RUNGS if share * own["tokens"] <= seen < own["tokens"]]
    score = score_at(own["curve"], rungs[-1]) if rungs else None
    if score is None:
        return False
    cheaper = [each for each in others if "costs" in each and no_more(each["costs"], own["costs"])]
    rivals = [found for each in cheaper if (found := score_at(each.get("curve", []), rungs[-1])) is not None]
    better = sum(found < score for found in rivals)
    return len(rivals) >= LEAST_RIVALS and better >= (len(rivals) + 1) / 2


def no_more(costs: Sequence[float], than: Sequence[float]) -> bool:
    """Whether no cost is more than its counterpart."""
    return all(a <= b for a, b in zip(costs, than, strict=True))


def score_at(points: Curve, tokens: float) -> float | None:
    """Score of the last validation up to a number of tokens; None for a trial that has not come so far."""
    if not points or points[-1][0] < tokens:
        return None
    return next((value for seen, value in reversed(points) if seen <= tokens), None)


def curve(run_dir: Path, metric: str) -> Curve:
    """What the validations of a run have measured of a metric."""
    name = metric.replace(".", "/", 1)
    rows = {int(row["tokens"]): row[name] for row in validations(run_dir) if name in row and "tokens" in row}
    return sorted(rows.items())


def planned_tokens(settings: Settings) -> int | None:
    """Number of tokens that a run is to see; None where only the run itself can tell."""
    from smallgpt.models.cost import cost

    steps = settings.steps(cost(settings.model).training_flops_per_token)
    return None if steps is None else steps * settings.batch.tokens


def known_before(metrics: Sequence[str], settings: Settings) -> list[float]:
    """Values of objectives that a result will have, before the training. Raises UserError for one that is not there."""
    from smallgpt.models.cost import cost

    expected = {"cost": cost(settings.model).to_dict(), "latency": settings.decoding or {}}
    values = [objective(metric, expected, 0) for metric in metrics]
    return [value for value in values if value is not None]
