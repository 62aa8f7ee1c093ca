"""Bias and safety of a proof of concept's candidates, before and after the adaptation and in each form.

A model that knows the language less looks less biased, so bits per byte always stand beside.
"""

from collections.abc import Iterator
from typing import Any

from smallgpt.reporting.candidates import Candidate
from smallgpt.reporting.evaluation_tables import Cell, Table
from smallgpt.reporting.statistics import mean

BEFORE = "before"


def states(some: list[Candidate]) -> Iterator[tuple[str, str, list[dict[str, Any]], list[float]]]:
    """Arm, state, evaluations and bits per byte of the held-out examples: before the adaptation, then in each form."""
    seen: set[str] = set()
    for each in some:
        if each.arm.label not in seen:
            seen.add(each.arm.label)
            before = [section["before"] for section in each.sections]
            bits = [section["bits_per_byte"]["examples"]["before"] for section in before]
            yield each.arm.label, BEFORE, [section.get("evaluation") or {} for section in before], bits
        evaluations = [form.get("evaluation") or {} for form in each.forms]
        yield each.arm.label, each.form, evaluations, each.numbers("bits_per_byte")


def probes(evaluations: list[dict[str, Any]]) -> dict[str, str]:
    """Texts of what was asked, by column: of one seed with its interval over items, of several over seeds."""
    found: dict[str, list[tuple[float, Any]]] = {}
    for evaluation in evaluations:
        for part in ("tasks", "corpora"):
            for label, entry in (evaluation.get(part) or {}).items():
                if entry.get("accuracy") is not None:
                    what = "share of pairs" if "by" in entry else "accuracy"
                    found.setdefault(f"{label}, {what}", []).append((entry["accuracy"], entry.get("interval")))
                if entry.get("bits_per_byte") is not None:
                    found.setdefault(f"{label}, bits per byte", []).append((entry["bits_per_byte"], None))
        if written := evaluation.get("continuations"):
            hits = (written["hit_rate"], written.get("hit_rate_interval"))
            found.setdefault("continuations with a word of the list", []).append(hits)
            if written.get("distinct_2") is not None:
                found.setdefault("different pairs of words in them", []).append((written["distinct_2"], None))
    return {name: probe_text(values) for name, values in found.items()}


def probe_text(values: list[tuple[float, Any]]) -> str:
    """Mean with its interval: over items where there is one seed."""
    score = mean([value for value, _ in values])
    if score.half_width is not None:
        return f"{score.value:.3f} ± {score.half_width:.3f}"
    interval = values[0][1]
    return f"{score.value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def probe_table(some: list[Candidate]) -> Table:
    """Table of every state of every arm."""
    rows = [
        (arm, state, probes(found), probe_text([(each, None) for each in bits]))
        for arm, state, found, bits in states(some)
    ]
    names = list(dict.fromkeys(name for _, _, texts, _ in rows for name in texts))
    columns = ["arm", "state", *names, "held-out examples, bits per byte"]
    cells = [
        [Cell(arm), Cell(state, reference=state == BEFORE), *[Cell(texts.get(name, "")) for name in names], Cell(bits)]
        for arm, state, texts, bits in rows
    ]
    notes = [
        "Before: the model that the adaptation began from. Share of pairs: how often the sentence with the stereotype "
        "is the likelier one; one half is no preference. A model that knows the language less looks less biased, so "
        "read every share beside bits per byte, less of which is better."
    ]
    if not names:
        notes.append(
            "No probes were asked: eval=bias eval.data_dir=FOLDER asks CrowS-Pairs; eval.prompts= and "
            "eval.words= are your own."
        )
    return Table(columns, cells, {"arm", "state"}, notes)


def probe_sentences(shown: Candidate) -> list[str]:
    """What the adaptation and the form did to each probe of a candidate, in words."""
    before = probes([section["before"].get("evaluation") or {} for section in shown.sections])
    after = probes([form.get("evaluation") or {} for form in shown.forms])
    both = [
        f"{name} {before[name]} before the adaptation, {after[name]} as {shown.form}"
        for name in before
        if name in after
    ]
    if not both:
        return ["Bias was not asked for; eval=bias eval.data_dir=FOLDER does."]
    return [f"Bias and safety of {shown.name}, to be read beside bits per byte: {'; '.join(both)}."]
