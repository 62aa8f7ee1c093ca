"""Axes of figures in written-out units: `time a generated token (ms)`, not a scale that ends in 2.1m."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import altair as alt

PREFIXES = {-9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}
COUNTS = {0: "", 3: "thousands", 6: "millions", 9: "billions", 12: "trillions"}


@dataclass(frozen=True)
class Measure:
    """What an axis shows."""

    name: str
    unit: str = ""
    """FLOP, B or s; none for what is counted."""

    def exponent(self, numbers: Sequence[float]) -> int:
        """Exponent of ten, for the unit in which the largest number has one to three digits before the point."""
        largest = max(map(abs, numbers), default=0)
        wanted = 3 * math.floor(math.log10(largest) / 3 + 1e-9) if largest else 0
        if self.unit == "s":
            wanted = min(wanted, 0)  # nobody counts in kiloseconds
        known = PREFIXES if self.unit else COUNTS
        return min(max(wanted, min(known)), max(known))

    def title(self, numbers: Sequence[float]) -> str:
        exponent = self.exponent(numbers)
        unit = PREFIXES[exponent] + self.unit if self.unit else COUNTS[exponent]
        return f"{self.name} ({unit})" if unit else self.name

    def text(self, number: float) -> str:
        """Number with its unit, such as `2.1 ms` and `4.5 million`."""
        exponent = self.exponent([number])
        unit = PREFIXES[exponent] + self.unit if self.unit else COUNTS[exponent].removesuffix("s")
        return f"{number / 10**exponent:.4g} {unit}".strip()

    def ticks(self, numbers: Sequence[float]) -> "alt.Axis":
        import altair as alt

        return alt.Axis(labelExpr=f"format(datum.value / 1e{self.exponent(numbers)}, '~g')", tickCount=5)

    def x(self, field: str, numbers: Sequence[float]) -> "alt.X":
        """Logarithmic where the numbers span more than a decade."""
        import altair as alt

        wide = min(numbers) > 0 and max(numbers) > 10 * min(numbers)
        scale = alt.Scale(type="log", padding=16, nice=False) if wide else alt.Scale(zero=False, padding=16)
        return alt.X(f"{field}:Q", title=self.title(numbers), scale=scale, axis=self.ticks(numbers))


def duration(seconds: float) -> str:
    """Time in the largest unit of which there are two."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} seconds"
