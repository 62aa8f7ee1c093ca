"""Profile of training: where the time of a step goes."""

from pathlib import Path
from typing import Any

import lightning as L
from torch.profiler import ProfilerActivity, profile, schedule

SKIPPED_BATCHES = 2
WATCHED_BATCHES = 3
TABLE_ROWS = 20


class Profile(L.Callback):
    """Callback that watches a few early batches; prints the costliest operations and writes a trace to look at.

    The trace is a Chrome trace: `chrome://tracing` and Perfetto read it.
    """

    def __init__(self, trace: Path) -> None:
        self.trace = trace
        self._profile: profile | None = None

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        activities = [ProfilerActivity.CPU]
        if module.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self._profile = profile(
            activities=activities,
            schedule=schedule(wait=SKIPPED_BATCHES - 1, warmup=1, active=WATCHED_BATCHES, repeat=1),
            on_trace_ready=self._report,
        )
        self._profile.start()

    def on_train_batch_end(self, *_: Any) -> None:
        if self._profile is not None:
            self._profile.step()

    def on_train_end(self, *_: Any) -> None:
        if self._profile is not None:
            self._profile.stop()

    def _report(self, watched: profile) -> None:
        device = "cuda" if ProfilerActivity.CUDA in watched.activities else "cpu"
        rows = watched.key_averages()
        print(rows.table(sort_by=f"self_{device}_time_total", row_limit=TABLE_ROWS))
        self.trace.parent.mkdir(parents=True, exist_ok=True)
        watched.export_chrome_trace(str(self.trace))
        print(f"trace: {self.trace}")
