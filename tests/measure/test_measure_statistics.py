"""Statistics against their definitions, on any numbers."""

from __future__ import annotations

import itertools
import math
import statistics as reference

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import InputError
from edge.measure.plan import Plan, quick
from edge.measure.statistics import median, median_interval, percentile, relative_spread, thin_out, trend

latencies = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=60)


@given(latencies)
def test_median_is_the_reference_median(values):
    assert median(values) == pytest.approx(reference.median(values))


@given(latencies, st.floats(0.01, 1.0))
def test_percentile_is_the_smallest_value_with_that_share_below(values, share):
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6
    assert sum(value < found for value in values) < share * len(values) + 1e-6


@given(latencies)
def test_percentiles_never_fall(values):
    assert min(values) <= median(values) <= percentile(values, 0.9) <= percentile(values, 0.99) <= max(values)


@pytest.mark.parametrize("count", [7, 10, 100, 700])
def test_percentile_takes_the_exact_rank_where_the_product_is_whole(count):
    values = list(range(1, 101))
    assert percentile(values, 0.07) == 7
    assert percentile(list(range(1, count + 1)), 1.0) == count


@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=20), st.floats(0.01, 100))
def test_spread_does_not_depend_on_the_unit_or_order(medians, factor):
    spread = relative_spread(medians)
    assert spread is not None
    assert relative_spread([factor * value for value in reversed(medians)]) == pytest.approx(spread, rel=1e-9, abs=1e-9)


def test_spread_of_too_little_is_unknown():
    assert relative_spread([3.0]) is None
    assert relative_spread([0.0, 0.0]) is None
    assert relative_spread([9.0, 10.0, 11.0]) == pytest.approx(0.2)


@given(st.lists(st.integers(), max_size=300), st.integers(1, 50))
def test_thinning_keeps_the_order_and_the_first_and_is_bounded(values, limit):
    kept = thin_out(values, limit)
    assert len(kept) == min(len(values), limit)
    assert kept == thin_out(values, limit)
    assert kept[:1] == values[:1]
    remaining = iter(values)
    assert all(value in remaining for value in kept)


def test_thinning_spans_the_whole_time():
    assert thin_out(list(range(1000)), 4) == [0, 250, 500, 750]


def test_median_interval_has_the_coverage_it_states():
    five = median_interval([3.0, 1.0, 2.0, 5.0, 4.0])
    assert (five.low, five.high, five.confidence) == (1.0, 5.0, 0.9375)
    ten = median_interval([float(value) for value in range(10)])
    assert (ten.low, ten.high) == (1.0, 8.0)
    assert ten.confidence == pytest.approx(1 - 2 * 11 / 1024)
    assert median_interval([1.0, 2.0]) is None
    assert median_interval([]) is None


def test_median_interval_covers_by_counting_all_sign_patterns():
    # Each value lies below or above the true median with chance one half: count the patterns the interval covers.
    for count in (5, 6, 9):
        interval = median_interval([float(value) for value in range(count)])
        covered = 0
        for pattern in itertools.product((-1, 1), repeat=count):
            below = pattern.count(-1)
            covered += interval.low <= below - 1 < interval.high
        assert covered / 2**count == pytest.approx(interval.confidence)


def test_trend_p_value_by_counting_all_orders():
    for count in (4, 5, 6):
        orders = list(itertools.permutations(range(1, count + 1)))
        for order in (orders[0], orders[-1], orders[7], orders[len(orders) // 3]):
            score = abs(_score(order))
            share = sum(abs(_score(other)) >= score for other in orders) / len(orders)
            assert trend([float(value) for value in order]).p_value == pytest.approx(share)


def _score(order):
    return sum(math.copysign(1, b - a) for a, b in itertools.combinations(order, 2))


def test_trend_is_sized_in_shares_of_the_median():
    rising = trend([100.0, 101.0, 102.0, 103.0, 104.0])
    assert rising.change == pytest.approx(4 / 102)
    assert rising.p_value == pytest.approx(2 / 120)
    assert trend([104.0, 103.0, 102.0, 101.0, 100.0]).change == pytest.approx(-4 / 102)
    assert trend([1.0, 2.0, 3.0]) is None
    assert trend([0.0] * 5) is None
    assert trend([7.0] * 5).change == 0


@pytest.mark.parametrize("wrong", [{"windows": 0}, {"threads": 0}, {"window_s": 0.0}, {"warmup_s": math.nan}])
def test_a_plan_that_cannot_be_run_is_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Plan(**wrong)


def test_a_quick_plan_keeps_the_windows_and_says_so():
    plan = quick(Plan(threads=3))
    assert (plan.windows, plan.threads, plan.quick) == (5, 3, True)
    assert plan.windows * plan.window_s + plan.warmup_s < 2
