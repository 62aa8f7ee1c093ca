"""Pictures of how good answers are against the number of examples that a model was adapted to."""

from collections.abc import Sequence
from typing import Any

from smallgpt.reporting.answer_scores import OF_ANSWERS, baselines, main_score, of_baseline
from smallgpt.reporting.arms import TAKEN, Arm
from smallgpt.reporting.axis_figures import value_axis
from smallgpt.reporting.charts import Figure, colour, figure, layered, tooltip, values
from smallgpt.reporting.naming import labels
from smallgpt.reporting.quality_figures import interval
from smallgpt.reporting.study import Comparison


def learning_curves(comparison: Comparison) -> list[Figure]:
    """The main score against the number of training examples, with what is to beat; none of a single number."""
    import altair as alt

    arms, key = comparison.arms, main_score(comparison.arms, comparison.split)
    if key is None or len({arm.number("data", "train_examples") for arm in arms}) < 2:
        return []
    others = [{name: value for name, value in arm.named.items() if not follows(name)} for arm in arms]
    series = labels([arm.variant for arm in arms], others)
    rows: list[dict[str, Any]] = []
    for arm, line in zip(arms, series, strict=True):
        rows += points(arm, line, list(arm.by_seed(key, comparison.split).values()))
        for name in baselines(arms):  # of shots each model has its own
            of = name if name == "majority" or len(set(series)) == 1 else f"{line}, {name}"
            rows += points(arm, of, of_baseline(arm, name, key))
    lines = list(dict.fromkeys(row["series"] for row in rows))
    x = value_axis("training examples", sorted({row["examples"] for row in rows}), "examples")
    y = alt.Y("score:Q", title=OF_ANSWERS[key], scale=alt.Scale(zero=False))
    base = alt.Chart(values(rows)).encode(x=x, color=colour(lines, "series"))
    tips = tooltip("arm", "series", "examples", "score", "low", "high", "seeds")
    chart = layered(
        base.encode(y=y).mark_line(strokeWidth=1.5, opacity=0.7),
        base.encode(y="low:Q", y2="high:Q").mark_rule(strokeWidth=1.5),
        base.encode(y=y, tooltip=tips).mark_point(filled=True, size=90, opacity=0.85),
    )
    return [figure("learning_curve", "examples", f"{OF_ANSWERS[key]} against the number of examples", chart)]


def follows(name: str) -> bool:
    """Whether a key is the number of examples, or how often they are seen, which goes with it."""
    return name == TAKEN or name.partition(".")[0] == "budget"


def points(arm: Arm, series: str, scores: Sequence[float]) -> list[dict[str, Any]]:
    """A point of a line, with its 95 % interval over seeds; none where there is no score."""
    examples = arm.number("data", "train_examples")
    if not scores or not examples:
        return []
    found: dict[str, Any] = interval(scores)
    return [{"arm": arm.label, "series": series, "examples": examples, "score": found.pop("loss"), **found}]
