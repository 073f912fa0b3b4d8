"""Exact two-sample rank statistics: the permutation test on ranks and the interval that belongs to it.

The test is Wilcoxon's rank-sum (Mann and Whitney 1947) with its exact permutation distribution; the estimate is
Hodges and Lehmann's (1963), the interval inverts the test (Moses), so test and interval never contradict each other.
Few values suffice, no distribution is assumed, one outlier cannot decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

from edge.measure.statistics import Span, median


def p_greater(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the one-sided p-value against "`second` is not larger than `first`".

    Exact where no value of one side equals one of the other; equal pairs count against the claim (conservative).
    """
    wins = sum(b > a for a in first for b in second)
    return _upper_tail(len(first), len(second), wins)


def ratio_estimate(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the Hodges-Lehmann estimate of second / first: the median of all pairwise ratios, on the log scale."""
    return math.exp(median(_log_ratios(first, second)))


def ratio_interval(first: Sequence[float], second: Sequence[float], alpha: float) -> Span | None:
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
    return Span(math.exp(ratios[cut]), math.exp(ratios[pairs - 1 - cut]), max(0.0, 1 - 2 * tails[cut]))


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
        ways = _divided(_times(ways, second_size + step), step)
    return tuple(ways)


def _times(ways: list[int], power: int) -> list[int]:
    # Multiply by (1 - q^power).
    padded = ways + [0] * power
    return [value - (padded[index - power] if index >= power else 0) for index, value in enumerate(padded)]


def _divided(ways: list[int], power: int) -> list[int]:
    # Divide by (1 - q^power); the division leaves no rest.
    quotient: list[int] = []
    for index, value in enumerate(ways[: len(ways) - power]):
        quotient.append(value + (quotient[index - power] if index >= power else 0))
    return quotient
