"""Tables of a proof of concept: candidates against limits, the cost of serving, and what is answered wrong."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from smallgpt.files import write_text
from smallgpt.reporting.axis_units import duration
from smallgpt.reporting.candidates import SECONDS_A_DAY, Candidate, candidates, decide
from smallgpt.reporting.decision_summary import most_a_day, summary
from smallgpt.reporting.evaluation_tables import Cell, Table
from smallgpt.reporting.probes import probe_table
from smallgpt.reporting.study import Comparison, Study
from smallgpt.results import plain_json

MOST_LETTERS = 300  # of an example in a table


def decision_findings(comparison: Comparison) -> list[tuple[str, str, list[Table]]]:
    """Parts of the page: their names, headings and tables; none where the jobs are no proof of concept."""
    found = candidates(comparison)
    if not found:
        return []
    decision = decide(found)
    shown = decision.shown
    return [
        ("decision", "The candidates against your limits", [limit_table(found, decision.recommended)]),
        ("serving", "What serving costs", [serving_table(found)]),
        ("errors", f"What {shown.name} gets wrong", [confusion_table(shown), *worst_table(shown)]),
        ("bias", "Bias and safety, before and after", [probe_table(found)]),
    ]


def limit_table(found: list[Candidate], recommended: Candidate | None) -> Table:
    """Every candidate with what was measured, and whether it keeps the limits."""
    limited = bool(found[0].asked["limits"])
    rows = []
    for each in found:
        test = each.forms[0]["test"]
        cells = [
            each.name,
            *([each.verdict] if limited else []),
            f"{each.accuracy.value:.1%} [{each.accuracy.low:.1%}, {each.accuracy.high:.1%}]",
            f"{each.average('test', 'macro_f1') or 0:.3f}",
            f"{each.average('test', 'calibration_error') or 0:.3f}",
            median_milliseconds(each, "seconds_per_token"),
            median_milliseconds(each, "answer_seconds"),
            f"{each.average('answers_per_second') or 0:,.0f}",
            "not told" if each.memory is None else f"{each.memory:,.0f}",
            "" if each.disk is None else f"{each.disk:,.2f}",
            duration(each.adapted("seconds") or 0.0),
            "not told" if (joules := each.adapted("joules")) is None else f"{joules / 3600:.3g} Wh",
            str(len(each.sections)),
            *([each.reasons] if limited else []),
        ]
        rows.append([Cell(text, best=bool(text) and each is recommended) for text in cells])
        n = test["n"]
    columns = [
        *("candidate", *(["limits"] if limited else []), "accuracy [95 %]", "macro F1", "calibration error"),
        *("ms a token", "ms an answer", "answers/s", "memory MB", "disk MB", "adaptation", "its energy", "seeds"),
        *(["why"] if limited else []),
    ]
    asked = found[0].asked
    form = found[0].forms[0]
    notes = [
        f"On {n:,} held-out examples, the same for all; the interval has the examples' part and the seeds'.",
        f"Times: median of rounds, in turn over the forms of a candidate, at a prompt of {form['prompt_tokens']} "
        f"tokens, {form['new_tokens']} new ones and a batch of {asked['batch']}; a limit is kept if the median's 95 % "
        "interval keeps it.",
        "Memory: peak resident memory of a process that does nothing but answer; a graph's has no PyTorch.",
        "Energy: of the whole machine while it adapts, where it tells. MB are 10^6 bytes. PyTorch is in fp32.",
    ]
    if asked["limits"]:
        notes.append(f"Limits: {', '.join(f'{key}={value:g}' for key, value in asked['limits'].items())}.")
    return Table(columns, rows, {"candidate", "limits", "why"}, notes)


def median_milliseconds(one: Candidate, key: str) -> str:
    """Median time in milliseconds with its 95 % interval, means over the seeds."""
    seconds, low, high = (one.average(key, end) for end in ("median", "low", "high"))
    if seconds is None or low is None or high is None:
        return ""
    return f"{1000 * seconds:.3g} [{1000 * low:.3g}, {1000 * high:.3g}]"


def serving_table(found: list[Candidate]) -> Table:
    """What the requests of a day take of this machine."""
    asked = found[0].asked
    price = asked["price_per_hour"]
    rows = [
        [
            Cell(each.name),
            Cell(duration(each.day_seconds)),
            Cell(f"{each.day_seconds / SECONDS_A_DAY:.2%}"),
            Cell(most_a_day(each)),
            *([Cell(f"{price * each.day_seconds / 3600:,.3g}")] if price is not None else []),
        ]
        for each in found
    ]
    columns = ["candidate", f"time for {asked['requests_per_day']:,} requests a day", "of a machine", "most a day"]
    notes = ["One request after the other, or one batch after the other, on the threads that were measured."]
    return Table([*columns, *(["price a day"] if price is not None else [])], rows, {"candidate"}, notes)


def confusion_table(shown: Candidate) -> Table:
    """What is said for each label, of all seeds together."""
    labels = shown.asked["labels"]
    matrices = [form["test"]["confusion"] for form in shown.forms]
    summed = [[sum(matrix[i][j] for matrix in matrices) for j in range(len(labels))] for i in range(len(labels))]
    rows = [
        [Cell(label), *[Cell(f"{count:,}", best=i == j) for j, count in enumerate(row)]]
        for i, (label, row) in enumerate(zip(labels, summed, strict=True))
    ]
    seeds = f", over {len(matrices)} seeds" if len(matrices) > 1 else ""
    return Table(["right, below; said", *labels], rows, {"right, below; said"}, [f"Held-out examples{seeds}."])


def worst_table(shown: Candidate) -> list[Table]:
    """The wrong answers that the model was surest of, of the first seed."""
    worst = shown.forms[0]["worst"]
    if not worst:
        return []
    rows = [
        [
            Cell(each["prompt"] if len(each["prompt"]) <= MOST_LETTERS else each["prompt"][:MOST_LETTERS] + "..."),
            Cell(each["answer"]),
            Cell(each["prediction"]),
            Cell(f"{each['probability']:.2f}"),
            Cell(Path(each["place"]).name),
        ]
        for each in worst
    ]
    note = "The wrong answers that it was surest of, of the first seed: look at the label first, then at the model."
    return [Table(["example", "label", "said", "how sure", "row"], rows, {"example", "label", "said", "row"}, [note])]


def write_decision(study: Study, folder: Path) -> None:
    """Writes results.json and candidates.csv of a proof of concept; nothing of other studies.

    Where several data are decided on, `data1_` and so on begins the names, as those of the figures.
    """
    several = len(study.comparisons) > 1
    for number, comparison in enumerate(study.comparisons, 1):
        found = candidates(comparison)
        if not found:
            continue
        recommended, rows = decide(found).recommended, [row_of(each) for each in found]
        record = {
            "question": study.question,
            "recommended": recommended.name if recommended else None,
            "summary": summary(comparison),
            "limits": found[0].asked["limits"],
            "candidates": rows,
        }
        data = f"data{number}_" if several else ""
        text = json.dumps(plain_json(record), indent=2, ensure_ascii=False)
        write_text(folder / f"{data}results.json", f"{text}\n")
        table = io.StringIO()
        writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(folder / f"{data}candidates.csv", table.getvalue())


def row_of(one: Candidate) -> dict[str, Any]:
    """Numbers of a candidate by their names."""
    return {
        "candidate": one.name,
        "arm": one.arm.label,
        "form": one.form,
        "limits": one.verdict,
        "why": one.reasons,
        "seeds": len(one.sections),
        "examples": len(one.right),
        "accuracy": one.accuracy.value,
        "accuracy_low": one.accuracy.low,
        "accuracy_high": one.accuracy.high,
        "macro_f1": one.average("test", "macro_f1"),
        "matthews": one.average("test", "matthews"),
        "calibration_error": one.average("test", "calibration_error"),
        "bits_per_byte": one.average("bits_per_byte"),
        "prompt_tokens": one.forms[0]["prompt_tokens"],
        "batch": one.asked["batch"],
        "seconds_per_token": one.average("seconds_per_token", "median"),
        "first_token_seconds": one.average("first_token_seconds", "median"),
        "answer_seconds": one.average("answer_seconds", "median"),
        "answers_per_second": one.average("answers_per_second"),
        "tokens_per_second": one.average("tokens_per_second"),
        "memory_mb": one.memory,
        "disk_mb": one.disk,
        "adaptation_seconds": one.adapted("seconds"),
        "adaptation_joules": one.adapted("joules"),
        "requests_per_day": one.asked["requests_per_day"],
        "machine_seconds_per_day": one.day_seconds,
    }
