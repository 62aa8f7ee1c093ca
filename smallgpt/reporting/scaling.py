"""Scaling: the losses of one arm at several sizes, and the curve L(C) = E + a (C / C0)^-b through them.

C is the training compute of a size, C0 the smallest of a comparison. E, the loss that no compute takes away, is one
for all arms: three sizes fix no floor for each arm, and the text is the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from smallgpt.reporting.arms import Arm
from smallgpt.reporting.naming import hashable, labels
from smallgpt.reporting.statistics import LEVEL
from smallgpt.reporting.study import Comparison
from smallgpt.run_directory import OF_A_SIZE

if TYPE_CHECKING:
    import numpy as np

FEWEST_SIZES = 3
APART = 1.25  # computes of one budget differ by rounding alone
DRAWS = 400  # of an interval
FLOORS = 300  # values of E that are tried
OF_A_STEP = {"size", "batch.tokens", *[f"model.{field}" for field in OF_A_SIZE]}
BUDGETS = {"budget", "match.baseline", "match.reference"}  # what grows with the size, and what it is matched to


@dataclass(frozen=True)
class ArmSize:
    """One size of an arm."""

    arm: Arm
    parameters: float
    compute: float
    """Training FLOPs of a run."""
    losses: dict[int | None, float]

    @property
    def loss(self) -> float:
        """Mean loss over the seeds."""
        return sum(self.losses.values()) / len(self.losses)


@dataclass(frozen=True)
class ArmSeries:
    """An arm at three sizes or more, from the smallest compute to the largest."""

    label: str
    sizes: list[ArmSize]

    @property
    def falls(self) -> bool:
        """Whether more compute has brought a lower loss, without which there is no curve to fit."""
        return self.sizes[-1].loss < self.sizes[0].loss


class FittedNumber(NamedTuple):
    """A fitted number with its 95 % interval, where seeds give one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ScalingCurve:
    """The fitted curve of an arm."""

    floor: FittedNumber
    """Loss that no compute takes away: E, in nats, one for all arms."""
    scale: FittedNumber
    """What lies above E at the compute C0: a, in nats."""
    exponent: FittedNumber
    """Power of the compute with which that falls: b."""
    smallest: float
    """C0, in FLOPs."""

    def loss(self, compute: float) -> float:
        return self.floor.value + self.scale.value * (compute / self.smallest) ** -self.exponent.value


def scaling_series(comparison: Comparison) -> list[ArmSeries]:
    """Arms that were trained at three sizes or more: jobs that differ in nothing but the model's size and its budget.

    A size has one compute, and each next one a quarter more at least.
    """
    groups: dict[tuple, list[Arm]] = {}
    for arm in comparison.arms:
        config = arm.described.without(is_of_a_size).config
        groups.setdefault((arm.variant, *sorted((key, hashable(value)) for key, value in config.items())), []).append(
            arm
        )
    kept = {key: sizes for key, arms in groups.items() if makes_a_curve(sizes := sizes_of(comparison, arms))}
    firsts = [sizes[0].arm for sizes in kept.values()]
    named = [{name: value for name, value in arm.named.items() if not is_of_a_size(name)} for arm in firsts]
    names = labels([arm.variant for arm in firsts], named)
    return [ArmSeries(name, sizes) for name, sizes in zip(names, kept.values(), strict=True)]


def is_of_a_size(name: str) -> bool:
    """Whether a group or key says how large a model is, or how long that size is trained."""
    return name in OF_A_STEP or any(name == group or name.startswith(f"{group}.") for group in BUDGETS)


def sizes_of(comparison: Comparison, arms: Sequence[Arm]) -> list[ArmSize]:
    """Sizes with a loss, from the smallest compute to the largest."""
    found = []
    for arm in arms:
        compute, parameters = arm.cost("train", "flops"), arm.number("cost", "parameters")
        if (losses := comparison.losses(arm)) and compute and parameters:
            found.append(ArmSize(arm, parameters, compute, losses))
    return sorted(found, key=lambda size: size.compute)


def makes_a_curve(sizes: Sequence[ArmSize]) -> bool:
    """Whether sizes make a curve: enough of them, each larger than the one before in parameters and in compute."""
    pairs = pairwise(sizes)
    return len(sizes) >= FEWEST_SIZES and all(
        after.compute >= APART * before.compute and after.parameters > before.parameters for before, after in pairs
    )


def fit_curves(series: Sequence[ArmSeries], draws: int = DRAWS) -> dict[str, ScalingCurve]:
    """Curves by the arm's label, fitted together by least squares in nats; none of an arm whose loss does not fall.

    Intervals: every mean loss is drawn anew, `draws` times, from the t distribution that the spread of the seeds gives
    (pooled over arms and sizes), and all curves are fitted again; the middle 95 % of the numbers.
    """
    import numpy as np
    from scipy import stats

    fitted = [each for each in series if each.falls]
    if not fitted:
        return {}
    sizes = [size for each in fitted for size in each.sizes]
    owner = np.repeat(np.arange(len(fitted)), [len(each.sizes) for each in fitted])
    smallest = min(size.compute for size in sizes)
    log_compute = np.log([size.compute / smallest for size in sizes])
    losses = np.array([size.loss for size in sizes])
    best = polished(log_compute, losses, owner, joint_fits(log_compute, losses[None], owner)[0])
    spread, freedom = pooled_spread(sizes)
    again = []
    if freedom:
        each_mean = spread / np.sqrt([len(size.losses) for size in sizes])
        noise = stats.t.rvs(freedom, size=(draws, len(sizes)), random_state=np.random.default_rng(0))
        again = joint_fits(log_compute, losses + each_mean * noise, owner)
    numbers = [with_quantiles(values) for values in zip(best, *again, strict=True)]
    k = len(fitted)
    scales = [FittedNumber(*[math.exp(end) for end in each if end is not None]) for each in numbers[1 : 1 + k]]
    return {
        each.label: ScalingCurve(numbers[0], scales[i], numbers[1 + k + i], smallest) for i, each in enumerate(fitted)
    }


def joint_fits(log_compute: "np.ndarray", draws: "np.ndarray", owner: "np.ndarray") -> "np.ndarray":
    """Fits of many draws at once, a row each: E, then ln a of every arm, then b of every arm.

    For every E of a grid, ln(L - E) is a line in ln C; the weights make its squares, to first order, those of nats. The
    E with the least squares in nats is taken.

    Args:
        log_compute: ln(C / C0) of each point.
        draws: losses, a row a draw and a column a point.
        owner: index of each point's arm.
    """
    import numpy as np

    floors = np.linspace(0, 0.999, FLOORS)[None, :, None] * draws.min(axis=1)[:, None, None]
    above = draws[:, None, :] - floors
    logs, weights, squares = np.log(above), above**2, 0
    scales, exponents = [], []
    for arm in range(owner.max() + 1):
        mine = owner == arm
        x, y, w = log_compute[mine], logs[..., mine], weights[..., mine] / weights[..., mine].sum(-1, keepdims=True)
        x_mean, y_mean = (w * x).sum(-1), (w * y).sum(-1)
        x_off, y_off = x - x_mean[..., None], y - y_mean[..., None]
        slope = (w * x_off * y_off).sum(-1) / (w * x_off**2).sum(-1)
        scale = y_mean - slope * x_mean
        squares = squares + ((np.exp(scale[..., None] + slope[..., None] * x) - above[..., mine]) ** 2).sum(-1)
        scales.append(scale)
        exponents.append(-slope)
    at = np.argmin(squares, axis=1)
    rows = np.arange(len(draws))
    return np.stack([floors[rows, at, 0], *[each[rows, at] for each in (*scales, *exponents)]], axis=1)


def polished(log_compute: "np.ndarray", losses: "np.ndarray", owner: "np.ndarray", start: "np.ndarray") -> "np.ndarray":
    """The fit of least squares in nats that lies beside one from the grid."""
    import numpy as np
    from scipy.optimize import least_squares

    k = owner.max() + 1

    def residuals(numbers: "np.ndarray") -> "np.ndarray":
        return numbers[0] + np.exp(numbers[1 : 1 + k][owner] - numbers[1 + k :][owner] * log_compute) - losses

    lower, upper = np.full(len(start), -np.inf), np.full(len(start), np.inf)
    lower[0], upper[0] = 0, losses.min()
    start = np.clip(start, lower + 1e-9, upper)
    return least_squares(residuals, start, bounds=(lower, upper), x_scale="jac").x


def pooled_spread(sizes: Sequence[ArmSize]) -> tuple[float, int]:
    """Standard deviation between the seeds of a size, pooled over all sizes, and its degrees of freedom."""
    squares = sum((loss - size.loss) ** 2 for size in sizes for loss in size.losses.values())
    freedom = sum(len(size.losses) - 1 for size in sizes)
    return (squares / freedom) ** 0.5 if freedom else 0.0, freedom


def with_quantiles(values: Sequence[float]) -> FittedNumber:
    """The first of the values, with the middle 95 % of the others as its interval."""
    import numpy as np

    first, *others = map(float, values)
    if not others:
        return FittedNumber(first)
    low, high = np.quantile(others, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return FittedNumber(first, float(low), float(high))
