"""One progress bar on standard error, with the time left."""

from types import TracebackType
from typing import Any


class Progress:
    """Counts up to `total`; where that is unknown it shows the time that has passed."""

    def __init__(self, description: str, total: int | None, shown: bool):
        self.description, self.total, self.shown = description, total, shown
        self.bar: Any = None

    def __enter__(self) -> "Progress":
        if self.shown:
            from rich import progress
            from rich.console import Console

            counted = (
                progress.BarColumn(),
                progress.TaskProgressColumn(),
                progress.TimeRemainingColumn(elapsed_when_finished=True),
            )
            self.bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                *(counted if self.total else (progress.TimeElapsedColumn(),)),
                console=Console(stderr=True),
            )
            self.task = self.bar.add_task(self.description, total=self.total)
            self.bar.start()
        return self

    def advance(self, size: int) -> None:
        if self.bar:
            self.bar.advance(self.task, size)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar:
            self.bar.stop()
