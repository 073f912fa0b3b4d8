"""The exact rank test against brute force over all deals."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.measure.statistics import p_greater, ratio_estimate, ratio_interval, smallest_p

values = st.lists(st.integers(1, 10_000), min_size=4, max_size=9, unique=True)


@settings(deadline=None)
@given(values, st.integers(1, 3))
def test_p_value_is_the_share_of_deals_at_least_as_extreme(mixed, cut):
    first, second = mixed[:cut], mixed[cut:]
    wins = sum(b > a for a in first for b in second)
    deals = list(itertools.combinations(range(len(mixed)), len(first)))
    extreme = 0
    for deal in deals:
        left = [mixed[index] for index in deal]
        right = [value for index, value in enumerate(mixed) if index not in deal]
        extreme += sum(b > a for a in left for b in right) >= wins
    assert p_greater(first, second) == pytest.approx(extreme / len(deals))


def test_separated_sides_reach_the_smallest_p():
    assert p_greater([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == smallest_p(5, 5) == pytest.approx(1 / 252)
    assert p_greater([6, 7, 8, 9, 10], [1, 2, 3, 4, 5]) == 1


def test_equal_values_count_against_the_claim():
    assert p_greater([5.0] * 5, [5.0] * 5) == 1


@given(values, values, st.floats(0.1, 10))
def test_estimate_scales_and_inverts(first, second, factor):
    ratio = ratio_estimate(first, second)
    assert ratio_estimate(first, [factor * value for value in second]) == pytest.approx(factor * ratio)
    assert ratio_estimate(second, first) == pytest.approx(1 / ratio)


@given(values, values)
def test_interval_holds_the_estimate_and_agrees_with_the_test(first, second):
    interval = ratio_interval(first, second, 0.05)
    assert interval is not None
    assert interval.low <= ratio_estimate(first, second) * (1 + 1e-12)
    assert interval.high >= ratio_estimate(first, second) * (1 - 1e-12)
    assert interval.confidence >= 0.9 - 1e-12
    for limit in (0.5, 1.05, 1.9):
        if math.isclose(interval.low, limit, rel_tol=1e-9):
            continue
        rejected = p_greater([limit * value for value in first], second) <= 0.05
        assert rejected == (interval.low > limit)


def test_interval_of_five_and_five_and_of_too_few():
    interval = ratio_interval([1.0] * 5, [2.0] * 5, 0.05)
    assert interval.confidence == pytest.approx(1 - 2 * 12 / 252)
    assert ratio_interval([1.0, 1.1], [2.0, 2.1], 0.05) is None


def test_a_hundred_windows_on_each_side_are_exact_too():
    first = [float(value) for value in range(100, 200)]
    interval = ratio_interval(first, [1.1 * value for value in first], 0.05)
    assert interval.low < 1.1 < interval.high
    assert 0.9 <= interval.confidence < 0.902
