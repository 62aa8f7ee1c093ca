"""What a running sweep looks like: a view for a terminal that is drawn again and again, and lines for a log."""

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from smallgpt.errors import one_line, shown
from smallgpt.notices import clock_time, printable
from smallgpt.reporting.live_jobs import LiveJob
from smallgpt.reporting.live_sweep import LiveSweep

BAR, ARM = "", "arm"
COLUMNS = ("job", ARM, "state", "done", BAR, "step", "train loss", "val loss", "lowest", "tokens/s", "time")
LEFT_OUT = (BAR, "step", "lowest", "train loss", "tokens/s")
"""Columns that a narrow terminal does without, the first of them first."""
TEXTS = ("job", ARM, "state")
STYLES = {"running": "bold", "completed": "green", "failed": "red", "interrupted": "red", "waiting": "dim"}
FRAME_LINES = 8  # of a view beside its jobs
LEAST_JOBS, LEAST_NAME, MOST_REASONS = 4, 8, 3
SILENT_SECONDS = 90.0  # without a line, which is then said of a job
BAR_WIDTH = 12
PADDING = 2  # between columns


def view(sweep: LiveSweep, width: int, height: int) -> Group:
    """Draws a sweep in a terminal's columns and lines: first the jobs that run, then what has failed, then the best."""
    names, jobs = sweep.names(), by_interest(sweep)
    head = standing(sweep)
    reasons = [f"job {job.name} {ending(job)}" for job in jobs if job.ended and job.result.get("error")][:MOST_REASONS]
    most = max(LEAST_JOBS, height - FRAME_LINES - len(head) // width - len(reasons))
    rows = [cells(job, names[job.name]) for job in jobs[:most]]
    widths = widths_within(width, rows)
    table = Table(box=None, padding=(0, PADDING, 0, 0), pad_edge=False, header_style="bold")
    for column, room in widths.items():
        side = "left" if column in TEXTS else "right"
        table.add_column(column, justify=side, no_wrap=True, overflow="ellipsis", width=room)
    for job, row in zip(jobs, rows, strict=False):
        bar = ProgressBar(total=1.0, completed=job.progress or 0.0, width=BAR_WIDTH)
        drawn = {BAR: bar} if job.state == "running" and job.progress is not None else {}
        table.add_row(*[drawn.get(name) or Text(row[name]) for name in widths], style=STYLES.get(job.state))
    return Group(
        Text(printable(str(sweep.sweep_dir)), style="bold", no_wrap=True, overflow="ellipsis"),
        Text(head),
        on_a_line(ProgressBar(total=1.0, completed=sweep.progress, width=min(width, len(head)))),
        *[Text(line, style="green", no_wrap=True, overflow="ellipsis") for line in lowest_lines(sweep)],
        "",
        table,
        *([Text(f"and {len(jobs) - most} more", style="dim")] if len(jobs) > most else []),
        *[Text(line, style="red", no_wrap=True, overflow="ellipsis") for line in reasons],
    )


def on_a_line(bar: ProgressBar) -> Table:
    """Bar that ends its line, which alone it does not."""
    grid = Table.grid()
    grid.add_row(bar)
    return grid


def widths_within(width: int, rows: Sequence[Mapping[str, str]]) -> dict[str, int]:
    """Columns for which a terminal has room, with their widths; names of arms are cut where they must be."""
    natural = {name: max([len(name), *(len(row[name]) for row in rows)]) for name in COLUMNS} | {BAR: BAR_WIDTH}
    for left_out in range(len(LEFT_OUT) + 1):
        kept = {name: natural[name] for name in COLUMNS if name not in LEFT_OUT[:left_out]}
        room = width - sum(kept.values()) - PADDING * (len(kept) - 1)
        if room >= 0:
            return kept
    return kept | {ARM: max(LEAST_NAME, kept[ARM] + room)}


def by_interest(sweep: LiveSweep) -> list[LiveJob]:
    """Jobs in the order in which a look at them is worth most."""
    order = ("running", "failed", "interrupted", "refused", "completed", "pruned", "waiting")
    return sorted(
        sweep.in_order,
        key=lambda job: (
            order.index(job.state),
            job.metrics.lowest if job.ended and job.metrics.lowest is not None else float("inf"),
        ),
    )


def cells(job: LiveJob, name: str) -> dict[str, str]:
    """Texts of a job's row by column; those that are not known yet are empty."""
    latest, state, time = job.metrics.latest, job.state, job.seconds if job.state == "completed" else None
    if state == "running":
        time = job.seconds_left
        if job.silent > SILENT_SECONDS:
            state = f"silent {clock_time(job.silent)}"
    return {
        "job": job.name,
        ARM: printable(name),
        "state": state,
        "done": percent(job.progress if state != "waiting" else None),
        BAR: "",
        "step": number(latest.get("step"), ",.0f"),
        "train loss": number(latest.get("train/loss"), ".4f"),
        "val loss": number(latest.get("val/loss"), ".4f"),
        "lowest": number(job.metrics.lowest, ".4f"),
        "tokens/s": number(job.tokens_per_second, ",.0f"),
        "time": "" if time is None else clock_time(time) + (" left" if job.state == "running" else ""),
    }


def standing(sweep: LiveSweep) -> str:
    """How far a sweep is, in a line, such as `12 of 21 jobs done, 2 running, 7 waiting; about 1:23:00 left`."""
    states = sweep.states
    parts = [f"{sweep.ended} of {sweep.total} jobs done"]
    parts += [f"{states[state]} {state}" for state in ("failed", "interrupted", "refused", "pruned") if states[state]]
    if sweep.ended < sweep.total:
        parts += [f"{states['running']} running", f"{sweep.to_come} waiting"]
    left = sweep.seconds_left
    more = f"; about {clock_time(left)} left" if left is not None and sweep.ended < sweep.total else ""
    return ", ".join(parts) + more


def lowest_lines(sweep: LiveSweep) -> list[str]:
    """A line on the lowest validation loss so far; one for each text, where jobs are validated on several."""
    names = sweep.names()
    lines = []
    for job in sweep.lowest:
        where = f", {percent(job.progress)} of its training" if job.state == "running" and job.progress else ""
        lines.append(
            printable(
                f"lowest validation loss so far: {job.metrics.lowest:.4f} (job {job.name}, {names[job.name]}{where})"
            )
        )
    return lines


class Lines:
    """Plain lines of a sweep: one when a job changes its state, and now and then how far all of them are."""

    def __init__(self, sweep: LiveSweep) -> None:
        self.sweep = sweep
        self.known: dict[str, str] = {}

    def news(self) -> Iterator[str]:
        """Lines on the jobs whose state has changed since the last call; at first a waiting job is no news."""
        names = self.sweep.names()
        for job in self.sweep.in_order:
            before, self.known[job.name] = self.known.get(job.name, "waiting"), job.state
            if job.state != before:
                yield f"[{self.sweep.ended}/{self.sweep.total}] {job.name} {printable(names[job.name])}: {ending(job)}"

    def summary(self) -> Iterator[str]:
        """Lines on how far the sweep is and each of its running jobs."""
        yield standing(self.sweep)
        names = self.sweep.names()
        for job in self.sweep.in_order:
            if job.state == "running":
                row = cells(job, names[job.name])
                forms = ("{state}", "{done} done", "step {step}", "train loss {train loss}", "val loss {val loss}")
                texts = [
                    form.format_map(row)
                    for form in (*forms, "{tokens/s} tokens/s", "{time}")
                    if row[form.partition("{")[2].partition("}")[0]]
                ]
                yield f"  {job.name} {row[ARM]}: {', '.join(texts)}"
        yield from lowest_lines(self.sweep)


def ending(job: LiveJob) -> str:
    """State of a job, and what it came to, in words."""
    if job.state == "completed":
        low = number(job.metrics.lowest, ".4f")
        parts = ["completed", *([f"lowest validation loss {low}"] if low else [])]
        return ", ".join([*parts, *([clock_time(job.seconds)] if job.seconds is not None else [])])
    error = job.result.get("error")
    return f"{job.state}: {printable(shown(one_line(Exception(error))))}" if job.ended and error else job.state


def percent(fraction: float | None) -> str:
    """Fraction as a whole number of percent, rounded down; empty where it is not known."""
    return "" if fraction is None else f"{int(100 * fraction)}%"


def number(value: float | None, form: str) -> str:
    """Number in a format of Python's; empty where there is none."""
    return "" if value is None else format(value, form)
