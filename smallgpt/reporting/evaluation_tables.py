"""What the models know as tables: a row an arm, and each arm against the baseline."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from smallgpt.reporting.arms import Arm
from smallgpt.reporting.evaluations import Answer, Question, answer, answers_by_seed, questions, references
from smallgpt.reporting.identical import first_of_each
from smallgpt.reporting.statistics import Difference, corrected, difference, p_text
from smallgpt.reporting.study import Comparison

WIDEST = 8  # tasks that stand side by side; more stand one below the other
EQUAL = 1e-9  # accuracies are counts of few items: their gaps may be the same on every seed
EQUAL_GAPS = "no test: one gap on each seed"
REFERENCES = ("chance", "shortest option", "untrained")


@dataclass(frozen=True)
class Cell:
    """Cell of a table, with what marks it."""

    text: str
    best: bool = False
    reference: bool = False
    """It belongs to no arm."""


@dataclass(frozen=True)
class Table:
    """Table of a report, for the page, the terminal and Markdown."""

    columns: list[str]
    rows: list[list[Cell]]
    texts: set[str]
    """Names of the columns of words."""
    notes: list[str]
    """The sentences that it needs to be read."""


def evaluation_tables(comparison: Comparison) -> list[Table]:
    """The table of the answers, and where seeds allow it that of the differences from the baseline."""
    asked = questions(comparison)
    if not asked:
        return []
    gaps = differences_from_baseline(comparison, asked)
    return [answer_table(comparison, asked), *([difference_table(comparison, gaps)] if gaps else [])]


def answer_table(comparison: Comparison, asked: Sequence[Question]) -> Table:
    """A row an arm and a column a question, or the other way round where there are many questions."""
    lines, marked = [], False
    names = [arm.label for arm in comparison.arms]
    points = [references(comparison, question) for question in asked]
    below = [name for name in REFERENCES if any(name in known for known in points)]
    for question, known in zip(asked, points, strict=True):
        answers = [answer(arm, question) for arm in comparison.arms]
        winners = best(question, answers)
        marked = marked or any(winners)
        cells = [Cell(a.text if a else "", wins) for a, wins in zip(answers, winners, strict=True)]
        cells += [Cell(f"{known[name]:.3f}" if name in known else "", reference=True) for name in below]
        lines.append(cells)
    heads = [*[Cell(name) for name in names], *[Cell(name, reference=True) for name in below]]
    titles = [question.title for question in asked]
    notes = answer_notes(comparison, asked, marked)
    if len(asked) > WIDEST:
        rows = [[Cell(title), *cells] for title, cells in zip(titles, lines, strict=True)]
        return Table(["task", *names, *below], rows, {"task"}, notes)
    rows = [[head, *cells] for head, *cells in zip(heads, *lines, strict=True)]
    return Table(["arm", *titles], rows, {"arm"}, notes)


def best(question: Question, answers: Sequence[Answer | None]) -> list[bool]:
    """Marks the answers that are the best of several; none where all are equal or the best may be a guess."""
    known = {a.value for a in answers if a}
    if len(known) < 2 or question.better == "neither":
        return [False] * len(answers)
    top = min(known) if question.better == "less" else max(known)
    guessed = question.measure == "accuracy"
    return [bool(a and a.value == top and not (guessed and (a.says or not a.above))) for a in answers]


def answer_notes(comparison: Comparison, asked: Sequence[Question], marked: bool) -> list[str]:
    """Sentences that the table of answers needs to be read."""
    answers = {question: [a for arm in comparison.arms if (a := answer(arm, question))] for question in asked}
    everything = [a for found in answers.values() for a in found]
    notes = []
    if any(question.better == "more" for question in asked):
        notes.append("Tasks: accuracy, the share of items on which the likeliest option is the right one.")
    if shares := [question.label for question in asked if question.shares]:
        notes.append(f"{', '.join(shares)}: the share of pairs whose stereotype is the likelier; chance is no bias.")
    if any(question.better == "less" for question in asked):
        notes.append("Of bits per byte, less is better.")
    over = {"seeds" if a.seeds > 1 else "items or documents, where there is one seed": None for a in everything}
    notes.append(f"± is half of a 95 % interval over {', or over '.join(sorted(over, reverse=True))}.")
    if any(a.says == "chance" for a in everything):
        notes.append("chance: on no seed can the items tell the accuracy from guessing.")
    if any(a.says == "untrained" for a in everything):
        notes.append("untrained: on no seed can they tell it from that of a model that was not trained.")
    guessed = [q.label for q in asked if q.better == "more" and not any(a.above for a in answers[q])]
    if guessed:
        notes.append(f"No arm is above chance on: {', '.join(guessed)}.")
    if marked:
        notes.append("Bold is the best of several, unless it is no better than chance or an untrained model.")
    return notes + [note for question in dict.fromkeys(asked) for note in item_notes(comparison, question)]


def item_notes(comparison: Comparison, question: Question) -> list[str]:
    """Sentences about the items of a task or corpus themselves: those that lost words, those that were trained on."""
    entries = [
        entry for arm in comparison.arms for entry in arm.found("evaluation", question.part, question.label).values()
    ]
    notes = []
    if question.measure == "accuracy" and (cut := max((entry.get("cut_items", 0) for entry in entries), default=0)):
        notes.append(
            f"{question.label}: up to {cut} of {entries[0]['n']} items are longer than a model's context and lose "
            "their beginning, examples first."
        )
    shares = [entry.get("contamination", {}).get("share_of_items") for entry in entries]
    if seen := max((share for share in shares if share is not None), default=0):
        notes.append(f"{question.label}: {seen:.0%} of its items share 13 words in a row with the training text.")
    return notes


def differences_from_baseline(
    comparison: Comparison, asked: Sequence[Question]
) -> list[tuple[Arm, Question, Difference]]:
    """Every other arm less the baseline where two seeds are common, with p corrected for all of them together."""
    found, tests, first = [], [], first_of_each(comparison)
    for arm in comparison.arms:
        if baseline := comparison.baseline_of(arm):
            for question in asked:
                if gap := paired(question, answers_by_seed(arm, question), answers_by_seed(baseline, question)):
                    found.append((arm, question, gap))
                    tests.append((first[arm.label], first[baseline.label], question))
    gaps = corrected([gap for _, _, gap in found], tests)
    return [(arm, question, gap) for (arm, question, _), gap in zip(found, gaps, strict=True)]


def paired(question: Question, arm: dict[int | None, float], baseline: dict[int | None, float]) -> Difference | None:
    """Over the seeds that both have, if there are two; untested where the gap is the same on each."""
    common = [seed for seed in arm if seed in baseline]
    if len(common) < 2:
        return None
    gaps = [arm[seed] - baseline[seed] for seed in common]
    if max(gaps) - min(gaps) < EQUAL:
        return Difference(round(gaps[0], 9), n=len(common))
    gap = difference({seed: arm[seed] for seed in common}, {seed: baseline[seed] for seed in common})
    return replace(gap, better=question.better)


def difference_table(comparison: Comparison, gaps: Sequence[tuple[Arm, Question, Difference]]) -> Table:
    """Table of differences from the baseline, a row an arm and question."""
    rows = []
    for arm, question, gap in gaps:
        interval = "" if gap.low is None or gap.high is None else f" [{gap.low:+.4f}, {gap.high:+.4f}]"
        says = gap.verdict if gap.p is not None else EQUAL_GAPS if gap.value else "equal on every seed"
        texts = [arm.label, question.title, f"{gap.value:+.4f}{interval}", "" if gap.p is None else p_text(gap.p), says]
        rows.append([Cell(text) for text in texts])
    tested = sum(gap.p is not None for _, _, gap in gaps)
    over = f", {comparison.baseline.label}," if comparison.baseline else " at equal other choices,"
    notes = [f"The arm less the baseline{over} over the seeds that both have, on the same items."]
    if tested:
        notes.append("p: two-sided paired t test; the 95 % intervals are not corrected for the number of tests.")
    first = first_of_each(comparison)
    if (several := len({(first[arm.label], question) for arm, question, gap in gaps if gap.p is not None})) > 1:
        notes.append(f"Holm's method corrects p for the {several} tests of this table; identical arms count once.")
    if tested:
        notes.append(
            "No difference: the interval contains 0. Not certain: it leaves 0 out, but the corrected p is over 0.05."
        )
    if any(gap.p is None and gap.value for _, _, gap in gaps):
        notes.append("No test: so few items can give one gap on each seed, and a t test needs gaps that differ.")
    columns = ["arm", "on", "difference [95 %]", "p", "verdict"]
    return Table(columns, rows, {"arm", "on", "verdict"}, notes)
