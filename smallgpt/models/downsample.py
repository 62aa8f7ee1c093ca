"""Downsampling: one factor narrows the stream after every few blocks (arXiv 2404.14462, sections 3.2 and 3.3)."""

from __future__ import annotations

from .width_schedule import WidthScheduleConfig


class DownsampleConfig(WidthScheduleConfig):
    """Config of a width schedule that narrows the stream: where first, how often, and by which factor."""

    downsample_position: int = 2
    """Number of the block, counted from 1, after which the first narrowing comes."""
    downsample_frequency: int = 2
    """Number of blocks from one narrowing to the next."""
    downsample_times: int | None = None
    """Largest number of narrowings; null: as many as the depth has room for."""
    downsample_factor: float = 2.0
    """Factor that a narrowing divides the width by."""

    def scheduled_widths(self) -> list[int]:
        widths, width, times = [], self.n_embd, 0
        for block in range(1, self.n_layer + 1):
            widths.append(width)
            due = block - self.downsample_position
            most = self.downsample_times
            if due >= 0 and due % self.downsample_frequency == 0 and (most is None or times < most):
                width, times = self._narrowed(width, for_block=block < self.n_layer), times + 1
        return [*widths, width]

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
            if getattr(self, key) < 1:
                raise ValueError(f"{key}={getattr(self, key)}: must be at least 1")
        if self.widths is None and self.downsample_position > self.n_layer:
            raise ValueError(
                f"downsample_position={self.downsample_position}: n_layer={self.n_layer} has no such block, and "
                f"nothing is narrowed; use 1 to {self.n_layer}, or downsample_times=0"
            )
        if self.downsample_times is not None and self.downsample_times < 0:
            raise ValueError(f"downsample_times={self.downsample_times}: must be at least 0")
        if not self.downsample_factor > 1:
            raise ValueError(f"downsample_factor={self.downsample_factor}: must be over 1")
        super().check()
