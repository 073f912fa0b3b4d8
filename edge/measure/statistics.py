"""Order statistics of latencies: no assumption about their distribution, which is skewed and has outliers.

Samples inside one window are not independent (caches, clock and neighbours last longer than one run), so whatever says
something about certainty here works on window medians.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

DRAWN_SAMPLES = 2000


@dataclass(frozen=True)
class Span:
    """A confidence interval with the coverage it really has."""

    low: float
    high: float
    confidence: float


def median(values: Sequence[float]) -> float:
    """Return the middle value, or the mean of the two middle ones."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile: the smallest value with at least `share` of all values at or below it.

    It is always a value that was measured, and for fewer than 1 / (1 - share) values it is the largest.

    Args:
        values: At least one number, in any order.
        share: In (0, 1], for example 0.99.
    """
    ordered = sorted(values)
    # The product is rounded so that 0.07 * 100 = 7.000000000000001 does not become rank 8.
    rank = math.ceil(round(share * len(ordered), 9))
    return ordered[min(max(rank, 1), len(ordered)) - 1]


def relative_spread(medians: Sequence[float]) -> float | None:
    """Return (max - min) / median; None for fewer than two values or a median of 0."""
    middle = median(medians) if len(medians) > 1 else 0.0
    return (max(medians) - min(medians)) / middle if middle > 0 else None


def thinned(values: Sequence[float], limit: int = DRAWN_SAMPLES) -> list[float]:
    """Return at most `limit` values, evenly spaced in their order, the same ones every time."""
    count = len(values)
    return list(values) if count <= limit else [values[index * count // limit] for index in range(limit)]


def median_interval(medians: Sequence[float], confidence: float = 0.9) -> Span | None:
    """Return the narrowest order-statistic interval for the median that reaches a coverage.

    Exact for any continuous distribution (Conover, Practical Nonparametric Statistics, section 3.2); with five values
    it is their range, coverage 93.75 %.

    Returns:
        None where even the range does not reach `confidence`.
    """
    ordered, count = sorted(medians), len(medians)
    best = None
    below = 0
    for rank in range(count // 2):
        below += math.comb(count, rank)
        coverage = 1 - 2 * below / 2**count
        if coverage < confidence:
            break
        best = Span(ordered[rank], ordered[count - 1 - rank], coverage)
    return best


@dataclass(frozen=True)
class Trend:
    """A monotone trend: its relative change from first to last, and the chance of one so strong without a cause."""

    change: float
    p_value: float


def trend(medians: Sequence[float]) -> Trend | None:
    """Test for a monotone trend (Mann-Kendall, exact, two-sided) and size it by the Theil-Sen slope.

    Returns:
        None for fewer than four values (no trend could be told from chance) or a median of 0.
    """
    count, middle = len(medians), median(medians) if medians else 0.0
    if count < 4 or middle <= 0:
        return None
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    score = sum((medians[j] > medians[i]) - (medians[j] < medians[i]) for i, j in pairs)
    slope = median([(medians[j] - medians[i]) / (j - i) for i, j in pairs])
    return Trend(slope * (count - 1) / middle, _kendall_p(count, abs(score)))


def _kendall_p(count: int, score: int) -> float:
    # Orders of `count` values by their number of inversions (Mahonian numbers); the score is pairs - 2 * inversions.
    ways = [1]
    for size in range(2, count + 1):
        ways = [sum(ways[max(0, k - size + 1) : k + 1]) for k in range(len(ways) + size - 1)]
    pairs = count * (count - 1) // 2
    extreme = sum(number for inversions, number in enumerate(ways) if pairs - 2 * inversions >= score)
    return min(1.0, 2 * extreme / math.factorial(count))
