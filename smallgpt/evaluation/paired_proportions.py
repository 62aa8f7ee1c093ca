"""The interval of a difference between two accuracies on the same items that agrees with McNemar's exact test."""

import numpy as np

LEVEL = 0.95
QUANTILES = 2000


def paired_interval(gained: int, lost: int, n: int) -> tuple[float, float]:
    """Interval, 95 %, of (gained - lost) / n: `gained` of n items are right for one model alone, `lost` for the other.

    It leaves 0 out where McNemar's exact p is under 0.05, and nowhere else. Tango's and Newcombe's intervals do not:
    with 4 gained and none lost of 100, p is 0.125, and Tango's begins over 0.

    M. P. Fay and K. Lumbard, "Confidence intervals for difference in proportions for matched pairs compatible with
    exact McNemar's or sign tests", Statistics in Medicine 40 (2021): the difference is the share of discordant items
    times 2 t - 1, with t the share of gains among them; the exact confidence distributions of both are melded.
    """
    return _lower(gained, lost, n), -_lower(lost, gained, n)


def _lower(gained: int, lost: int, n: int) -> float:
    """The quantile 0.025 of s (2 t - 1), s the discordant share and t the share of gains, at their lowest."""
    from scipy import optimize, stats

    discordant, tail = gained + lost, (1 - LEVEL) / 2
    # of the share: its upper limit where the product is negative, its lower one elsewhere
    low, high = stats.beta(max(discordant, 1), n - discordant + 1), stats.beta(discordant + 1, max(n - discordant, 1))
    if gained == 0:  # t may be 0
        return -1.0 if discordant == n else -float(high.ppf(1 - tail))
    gains = stats.beta(gained, lost + 1)
    is_over = gains.cdf(0.5) < tail
    t = gains.ppf((np.arange(QUANTILES) + 0.5) / QUANTILES)
    slope = 2 * t - 1

    def probability(difference: float) -> float:
        """That the product is at most so much."""
        if difference > 0:
            return float(np.where(slope > 0, low.cdf(difference / np.where(slope > 0, slope, 1)), 1).mean())
        least = difference / np.where(slope < 0, slope, -1)
        reached = (least <= 1) if discordant == n else high.sf(least)
        return float(np.where(slope < 0, reached, 0).mean())

    ends = (1e-12, 1.0) if is_over else (-1.0, -1e-12)
    if not probability(ends[0]) < tail < probability(ends[1]):  # as near to 0 as can be
        return 0.0
    return float(optimize.brentq(lambda difference: probability(difference) - tail, *ends))
