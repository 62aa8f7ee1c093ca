"""The Hydra callback that ends a sweep with its report."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from smallgpt.launch.command_line import announce, complain, unexpected
from smallgpt.reporting.jobs import read_jobs
from smallgpt.run_directory import AT_WORK


class SweepReport(Callback):
    """Reports a sweep and ends the process with 1 unless every job is completed, or pruned by a search."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        sweep_dir = Path(config.hydra.sweep.dir)
        jobs = read_jobs(sweep_dir)
        completed = sum(job.completed for job in jobs)
        pruned = sum(job.status == "pruned" for job in jobs)
        done = bool(jobs) and completed + pruned == len(jobs)
        result: dict[str, Any] = {
            "status": "completed" if done else "failed",
            "jobs": len(jobs),
            "completed": completed,
        }
        if pruned:
            result["pruned"] = pruned
        try:
            if any(job.status != "unfinished" and not job.is_report for job in jobs):
                from smallgpt.reporting.report import report  # with PyTorch, for which no single run should wait
                from smallgpt.reporting.study import read_study

                result |= report(read_study([sweep_dir]), sweep_dir)
        except Exception as error:  # what was trained is no worse for it
            complain(f"the report of {sweep_dir} is not whole ({unexpected(error)}); task=report makes it again")
            result["report_error"] = unexpected(error)
        with suppress(OSError):
            (sweep_dir / AT_WORK).unlink(missing_ok=True)
        announce({**result, "results": sweep_dir / "results.csv"}, result.get("report", sweep_dir / "results.csv"))
        if not done:
            raise SystemExit(1)
