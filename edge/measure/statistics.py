"""Computes order statistics of latencies and exact rank tests on them, without assuming a distribution.

Latencies are skewed and have outliers. Samples inside one window are not independent (caches, clock and neighbours last
longer than one run), so every statement of certainty here works on window medians.

Two sides are tested by Wilcoxon's rank sum (Mann and Whitney 1947) with its exact permutation distribution; the
estimate is Hodges and Lehmann's (1963), the interval inverts the test (Moses), so test and interval never contradict
each other. Few values suffice, and one outlier cannot decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

DRAWN_SAMPLES = 2000


@dataclass(frozen=True)
class ConfidenceInterval:
    """A confidence interval with its actual coverage."""

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


def thin_out(values: Sequence[float], limit: int = DRAWN_SAMPLES) -> list[float]:
    """Return at most `limit` values, evenly spaced in their order, the same ones every time."""
    count = len(values)
    return list(values) if count <= limit else [values[index * count // limit] for index in range(limit)]


def median_interval(medians: Sequence[float], confidence: float = 0.9) -> ConfidenceInterval | None:
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
        best = ConfidenceInterval(ordered[rank], ordered[count - 1 - rank], coverage)
    return best


@dataclass(frozen=True)
class Trend:
    """A monotone trend: its relative change from first to last, and its p-value."""

    change: float
    p_value: float


def trend(medians: Sequence[float]) -> Trend | None:
    """Test for a monotone trend (Mann-Kendall, exact, two-sided) and size it by the Theil-Sen slope.

    Returns:
        None for fewer than four values (no trend could be distinguished from chance) or a median of 0.
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


def p_greater(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the one-sided p-value against "`second` is not larger than `first`".

    Exact where no value of one side equals one of the other; equal pairs count against the claim (conservative).
    """
    wins = sum(b > a for a in first for b in second)
    return _upper_tail(len(first), len(second), wins)


def ratio_estimate(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the Hodges-Lehmann estimate of second / first: the median of all pairwise ratios, on the log scale."""
    return math.exp(median(_log_ratios(first, second)))


def ratio_interval(first: Sequence[float], second: Sequence[float], alpha: float) -> ConfidenceInterval | None:
    """Return the exact interval for second / first whose one-sided error is at most `alpha` at each end.

    Returns:
        None where there are too few values for any interval of that confidence.
    """
    ways = _win_counts(len(first), len(second))
    everything, pairs = sum(ways), len(first) * len(second)
    # The distribution is symmetric: as likely as at least `pairs - cut` won pairs are at most `cut`.
    tails = [below / everything for below in accumulate(ways[: pairs // 2 + 1])]
    cut = sum(tail <= alpha for tail in tails) - 1
    if cut < 0:
        return None
    ratios = sorted(_log_ratios(first, second))
    return ConfidenceInterval(math.exp(ratios[cut]), math.exp(ratios[pairs - 1 - cut]), max(0.0, 1 - 2 * tails[cut]))


def smallest_p(first_size: int, second_size: int) -> float:
    """Return the smallest p-value that so many values can reach: 1 / (number of ways to deal them out)."""
    return 1 / math.comb(first_size + second_size, first_size)


def _log_ratios(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [math.log(b) - math.log(a) for a in first for b in second]


def _upper_tail(first_size: int, second_size: int, wins: int) -> float:
    ways = _win_counts(first_size, second_size)
    return sum(ways[max(0, wins) :]) / sum(ways)


@lru_cache(maxsize=32)
def _win_counts(first_size: int, second_size: int) -> tuple[int, ...]:
    # Number of deals with each count of won pairs: the coefficients of the Gaussian binomial coefficient.
    ways = [1]
    for step in range(1, first_size + 1):
        ways = _divide(_multiply(ways, second_size + step), step)
    return tuple(ways)


def _multiply(ways: list[int], power: int) -> list[int]:
    # Multiply by (1 - q^power).
    padded = ways + [0] * power
    return [value - (padded[index - power] if index >= power else 0) for index, value in enumerate(padded)]


def _divide(ways: list[int], power: int) -> list[int]:
    # Divide by (1 - q^power); the division leaves no rest.
    quotient: list[int] = []
    for index, value in enumerate(ways[: len(ways) - power]):
        quotient.append(value + (quotient[index - power] if index >= power else 0))
    return quotient
