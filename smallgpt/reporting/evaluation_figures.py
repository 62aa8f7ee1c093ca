"""Pictures of what the models of a study know: accuracies beside chance, and bits per byte."""

from collections.abc import Sequence
from typing import Any, Literal

from smallgpt.reporting.charts import Figure, colour, figure, layered, legend, tooltip, values
from smallgpt.reporting.evaluations import Question, answer, questions, references
from smallgpt.reporting.ranking import shown_arms
from smallgpt.reporting.study import Comparison

ROW, GAP = 18, 34  # height of an arm; between two tasks, where the name of one stands


def evaluation_figures(comparison: Comparison) -> list[Figure]:
    """One of accuracies and one of bits per byte, where an arm has them."""
    asked = questions(comparison)
    titles: dict[Literal["accuracy", "bits_per_byte"], str] = {
        "accuracy": "Accuracy; dashed: chance",
        "bits_per_byte": "Bits per byte; less is better",
    }
    return [
        intervals(comparison, found, measure, title)
        for measure, title in titles.items()
        if (found := [question for question in asked if question.measure == measure])
    ]


def intervals(comparison: Comparison, asked: Sequence[Question], measure: str, title: str) -> Figure:
    """A band a question, in it a row an arm with its interval."""
    import altair as alt

    field = measure.replace("_", " ")
    arms = shown_arms(comparison)
    labels = [arm.label for arm in arms]
    rows, chances = [], []
    for question in asked:
        chance = references(comparison, question).get("chance")
        if chance is not None:
            chances.append({"task": question.title, "chance": chance})
        for arm in arms:
            if found := answer(arm, question):
                row = {"arm": arm.label, "task": question.title, field: found.value, "low": found.low}
                rows.append(row | {"high": found.high, "seeds": found.seeds, "chance": chance})
    shown = list(dict.fromkeys(row["arm"] for row in rows))
    band = ROW * len(shown)
    step = band + GAP
    # each name above its band: beside it there is no room on a phone
    above = alt.Axis(
        labelAlign="left", labelPadding=-4, labelOffset=-(band / 2 + 9), labelLimit=400, ticks=False, domain=False
    )
    tasks = [question.title for question in asked]
    scale = alt.Scale(domain=tasks, paddingInner=GAP / step, paddingOuter=0.6 * GAP / step)
    y = alt.Y("task:N", title=None, scale=scale, axis=above)
    rows_of_arms = alt.YOffset("arm:N", scale=alt.Scale(domain=shown))
    x = alt.X(f"{field}:Q", title=field, scale=alt.Scale(zero=False, padding=12), axis=alt.Axis(tickCount=6))
    base = alt.Chart(values(rows)).encode(y=y, yOffset=rows_of_arms, color=colour(labels))
    shape = alt.Shape("arm:N", scale=alt.Scale(domain=labels), legend=legend(labels))
    tips = tooltip("arm", "task", field, "low", "high", "seeds", *(["chance"] if chances else []))
    layers: list[Any] = [
        base.encode(x=alt.X("low:Q"), x2="high:Q").mark_rule(strokeWidth=1.5),
        base.encode(x=x, shape=shape, tooltip=tips).mark_point(filled=True, size=80, opacity=0.85),
    ]
    if chances:
        ends: dict[str, Any] = {"y": alt.Y("task:N", bandPosition=0), "y2": alt.Y2("task:N", bandPosition=1)}
        line = alt.Chart(values(chances)).encode(x="chance:Q", tooltip=tooltip("task", "chance"), **ends)
        layers.insert(0, line.mark_rule(strokeDash=[4, 3], strokeWidth=1.5, color="#888"))
    return figure(f"evaluation_{measure}", "evaluation", title, layered(*layers), step * len(tasks))
