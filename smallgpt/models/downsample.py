"""Downsampling: one factor narrows the stream after every few blocks (arXiv 2404.14462, sections 3.2 and 3.3)."""

from __future__ import annotations

from .width_schedule import WidthScheduleConfig


class DownsampleConfig(WidthScheduleConfig):
    """Config of a width schedule that narrows the stream: where first, how often, and by which factor."""

    downsample_position: int | None = 2
    """Number of the block, counted from 1, after which the first narrowing comes; null: downsample_frequency."""
    downsample_frequency: int = 2
    """Number of blocks from one narrowing to the next."""
    downsample_times: int | None = None
    """Largest number of narrowings; null: as many as the depth has room for."""
    downsample_factor: float = 2.0
    """Factor that a narrowing divides the width by."""

    def scheduled_widths(self) -> list[int]:
        widths, width, times, first = [], self.n_embd, 0, self.first_narrowing
        for block in range(1, self.n_layer + 1):
            widths.append(width)
            due = block - first
            most = self.downsample_times
            if due >= 0 and due % self.downsample_frequency == 0 and (most is None or times < most):
                width, times = self._narrowed(width, for_block=block < self.n_layer), times + 1
        return [*widths, width]

    @property
    def first_narrowing(self) -> int:
        """Number of the block after which the first narrowing comes."""
        return self.downsample_frequency if self.downsample_position is None else self.downsample_position

    def _narrowed(self, width: int, for_block: bool) -> int:
        """Exactly width / factor where that is whole and fits the heads of a block, else the nearest that does."""
        exact = width / self.downsample_factor
        if exact == int(exact) and (exact == self.fitting(exact) or not for_block):
            return int(exact)
        return self.fitting(exact)

    def wider(self, least: int) -> str:
        reached = sum(1 for width in dict.fromkeys(self.stream_widths) if width >= least) - 1
        return f"downsample_times={max(reached, 0)}"

    def check(self) -> None:
        for key in ("downsample_position", "downsample_frequency"):
            if (value := getattr(self, key)) is not None and value < 1:
                raise ValueError(f"{key}={value}: must be at least 1")
        if self.widths is None and self.first_narrowing > self.n_layer:
            key = "downsample_frequency" if self.downsample_position is None else "downsample_position"
            raise ValueError(
                f"{key}={self.first_narrowing}: n_layer={self.n_layer} has no such block, and "
                f"nothing is narrowed; use 1 to {self.n_layer}, or downsample_times=0"
            )
        if self.downsample_times is not None and self.downsample_times < 0:
            raise ValueError(f"downsample_times={self.downsample_times}: must be at least 0")
        if not self.downsample_factor > 1:
            raise ValueError(f"downsample_factor={self.downsample_factor}: must be over 1")
        super().check()
