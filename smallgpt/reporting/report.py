"""What a sweep ends with: tables, results.csv, figures and report.html, from result.json and metrics.csv alone."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smallgpt.errors import shown
from smallgpt.files import write_bytes, write_text
from smallgpt.notices import show
from smallgpt.reporting.arm_table import OVER_DOCUMENTS, arm_table
from smallgpt.reporting.caveats import caveats
from smallgpt.reporting.cost_table import cost_table
from smallgpt.reporting.decision_summary import summary
from smallgpt.reporting.decision_tables import decision_findings, write_decision
from smallgpt.reporting.front import front_tables
from smallgpt.reporting.inferences import inference_tables
from smallgpt.reporting.jobs import ReportedJob
from smallgpt.reporting.markdown import markdown
from smallgpt.reporting.naming import distinguishing, short_names
from smallgpt.reporting.notes import arm_notes
from smallgpt.reporting.statistics import winner
from smallgpt.reporting.study import Study
from smallgpt.reporting.tables import print_table
from smallgpt.results import evaluation_numbers, inference_numbers
from smallgpt.run_directory import SPEED_KEYS

SECTIONS = ("cost", "match", "latency", "forecast", "train", "val", "best", "test", "data")
# a terminal has no room for them
PAGE_ONLY = {OVER_DOCUMENTS, "matched to", "bits per byte", "tokens / parameter", "cache B / token"}


def report(study: Study, folder: Path) -> dict[str, Any]:
    """Prints and writes everything, what needs no drawing first; returns where it is and what it says.

    Args:
        study: what was read.
        folder: takes results.csv, results.md, figures/, loss.png and report.html.
    """
    write_csv(folder / "results.csv", study.jobs)
    title = ", ".join(map(str, study.sweeps))
    priced = bool(study.arms) and all(job.task == "inspect" for arm in study.arms for job in arm.jobs)
    if priced:
        columns, rows, notes = cost_table(study.comparisons[0])
        print_table(title, columns, rows)
        show(" ".join(notes))
    else:
        print_table(title, *job_table(study.jobs))
    for comparison in [] if priced else study.comparisons:
        if any(len(arm.jobs) > 1 or arm.tuning for arm in comparison.arms):
            rows = arm_table(comparison)
            names = [name for name in rows[0] if name not in PAGE_ONLY]
            print_table("arms", names, [[row[name] for name in names] for row in rows])
            show(" ".join(arm_notes(comparison)))
        for table in front_tables(comparison):
            columns = table.columns[:-1]  # a terminal has no room for commands
            print_table("front", columns, [[cell.text for cell in row[:-1]] for row in table.rows])
            show(" ".join(table.notes))
        for table in inference_tables(comparison):
            print_table("inference", table.columns, [[cell.text for cell in row] for row in table.rows])
            show(" ".join(table.notes))
        for _, heading, (table, *_) in decision_findings(comparison)[:1]:
            print_table(heading, table.columns, [[cell.text for cell in row] for row in table.rows])
            show("\n".join(summary(comparison)))
        if any(comparison.losses(arm) for arm in comparison.arms):
            show("\n".join([winner(comparison), *caveats(comparison)]))
    if len(study.comparisons) > 1:
        show("The jobs differ in their data: losses are compared only where it is the same.")
    for job in [job for job in study.unfinished if job.status != "pruned"]:
        show(f"job {job.name} {job.status}: {job.result.get('error')}")
    write_text(folder / "results.md", markdown(study))
    write_decision(study, folder)
    page = folder / "report.html"
    draw_page(study, page)
    show(f"report: {page}")
    return {
        "results": folder / "results.csv",
        "report": page,
        "winner": [(summary(comparison) or [winner(comparison)])[0] for comparison in study.comparisons],
    }


def draw_page(study: Study, page: Path) -> None:
    """Writes report.html, and every figure as PNG and SVG."""
    from dataclasses import replace

    from smallgpt.reporting import html
    from smallgpt.reporting.charts import save
    from smallgpt.reporting.figures import draw

    several = len(study.comparisons) > 1
    figures = []
    for number, comparison in enumerate(study.comparisons, 1):
        # a job that failed does not say what data it had
        drawn = draw(comparison, [] if several else study.unfinished)
        figures.append([replace(figure, name=f"data{number}_{figure.name}") for figure in drawn] if several else drawn)
    write_text(page, html.page(study, figures, " and ".join(sweep.resolve().name for sweep in study.sweeps)))
    folder = page.parent / "figures"
    for figure in [figure for drawn in figures for figure in drawn]:
        if error := figure.error or save(figure, folder):
            show(f"figure {figure.name}: cannot be drawn ({error})")
        elif figure.name == "loss_tokens":
            write_bytes(page.parent / "loss.png", (folder / "loss_tokens.png").read_bytes())


def job_table(jobs: Sequence[ReportedJob]) -> tuple[Sequence[str], list[Sequence[Any]]]:
    """Columns and rows: what was varied, what it took, how well it did; columns that no job fills are left out."""
    named = distinguishing([job.described for job in jobs])
    keys = short_names(list(dict.fromkeys(name for values in named for name in values)))
    speed = hardware(jobs)
    columns = ("job", "variant", *keys.values(), "seed", "status", "parameters", "tokens", "tokens/s", "hardware")
    scores = ("validation loss", "perplexity", "bits per byte")
    rows: list[Sequence[Any]] = []
    for job, values, where in zip(jobs, named, speed, strict=True):
        cost, train, val = (job.section(section) for section in ("cost", "train", "val"))
        rows.append(
            (
                job.name,
                job.variant,
                *[shown(values[key]) if key in values else None for key in keys],
                job.seed,
                job.status,
                cost.get("parameters"),
                train.get("tokens", cost.get("tokens")),
                None if (speed := train.get("tokens_per_second")) is None else round(speed),
                where,
                *[four_digits(val.get(key)) for key in ("loss", "perplexity", "bits_per_byte")],
            )
        )
    names = (*columns, *scores)
    filled = [i for i, column in enumerate(zip(*rows, strict=True)) if any(value is not None for value in column)]
    return [names[i] for i in filled], [[row[i] for i in filled] for row in rows]


def hardware(jobs: Sequence[ReportedJob]) -> list[str | None]:
    """What differs between jobs and makes them faster or slower, but no other arm; None where nothing does."""
    keys = [key for key in sorted(SPEED_KEYS) if len({job.config.get(key) for job in jobs if job.config}) > 1]
    texts = [
        [f"{short}={shown(job.config[key])}" for key, short in short_names(keys).items() if key in job.config]
        for job in jobs
    ]
    return [" ".join(words) or None for words in texts]


def write_csv(path: Path, jobs: Sequence[ReportedJob]) -> None:
    """One row a job, every number of its sections under `section/name`."""
    rows = [{"job": job.name, **flat_result(job.result)} for job in jobs]
    columns = dict.fromkeys(key for row in rows for key in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def flat_result(result: dict[str, Any]) -> dict[str, Any]:
    """Result as a row of results.csv."""
    row = {key: value for key, value in result.items() if not isinstance(value, dict | list)}
    row["overrides"] = " ".join(result.get("overrides", []))
    for section in SECTIONS:
        for key, value in (result.get(section) or {}).items():
            if not isinstance(value, dict | list):
                row[f"{section}/{key}"] = value
    row |= {f"inference/{key}": value for key, value in inference_numbers(result.get("inference") or {}).items()}
    for label, measures in evaluation_numbers(result.get("evaluation") or {}).items():
        row |= {f"evaluation/{label}/{key}": value for key, value in measures.items()}
    return row


def four_digits(value: float | None) -> str | None:
    """Number with four digits after the point."""
    return None if value is None else f"{value:.4f}"
