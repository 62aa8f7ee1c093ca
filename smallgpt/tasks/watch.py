"""`task=watch` shows a running sweep in the terminal until it has ended; it reads what the jobs write, and no more."""

import sys
import time
from pathlib import Path
from typing import Any

from smallgpt.errors import UserError
from smallgpt.notices import show
from smallgpt.settings import Settings
from smallgpt.stop_signals import Stopped

LOOK_SECONDS = 2.0
LINE_SECONDS = 30.0


def run(settings: Settings, run_dir: Path) -> dict[str, Any]:
    """Draws a view on a terminal, and prints lines elsewhere, until nothing works on the sweep; returns `watched`."""
    from smallgpt.reporting.live_sweep import LiveSweep
    from smallgpt.reporting.live_view import lowest_lines, standing

    if len(settings.sweep) != 1 or not settings.sweep[0]:
        raise UserError("sweep=null: task=watch takes the directory of one sweep, such as multirun_outputs/STUDY")
    sweep = LiveSweep(Path(settings.sweep[0]).expanduser())
    try:
        if sys.stdout.isatty():
            draw(sweep)
        else:
            write_lines(sweep)
            show("\n".join([standing(sweep), *lowest_lines(sweep)]))
    except Stopped as stop:
        stop.message = "no longer watched; the sweep goes on"
        raise
    if not sweep.is_complete:
        show("nothing works on this sweep any more; the command that started it goes on with what is left")
    elif (page := sweep.sweep_dir / "report.html").exists():
        show(f"report: {page}")
    return {
        "watched": {
            "sweep": sweep.sweep_dir,
            "jobs": sweep.total,
            "states": dict(sweep.states),
            "lowest": [{"job": job.name, "val_loss": job.metrics.lowest} for job in sweep.lowest],
        }
    }


def draw(sweep: Any) -> None:
    """Draws a sweep in place on the terminal until it is over; its last view stays."""
    from rich.console import Console
    from rich.live import Live

    from smallgpt.reporting.live_view import view

    console = Console(highlight=False, markup=False)
    with Live(view(sweep, console.width, console.height), console=console, auto_refresh=False) as live:
        while not sweep.is_over:
            time.sleep(LOOK_SECONDS)
            sweep.refresh()
            live.update(view(sweep, console.width, console.height), refresh=True)


def write_lines(sweep: Any) -> None:
    """Prints what is new of a sweep, and now and then how far it is, until it is over."""
    from smallgpt.reporting.live_view import Lines

    lines, begun = Lines(sweep), time.monotonic()
    while True:
        for line in lines.news():
            show(line)
        if sweep.is_over:
            return
        if time.monotonic() >= begun:
            begun = time.monotonic() + LINE_SECONDS
            for line in lines.summary():
                show(line)
        time.sleep(LOOK_SECONDS)
        sweep.refresh()
