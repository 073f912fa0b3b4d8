"""A trace holds what a meter gave, and refuses what cannot be one trace."""

from __future__ import annotations

import numpy as np
import pytest

from firmware_tools.errors import TraceError
from firmware_tools.trace import Trace


def trace(*times, lost=0, damaged=0):
    column = np.arange(len(times), dtype=np.float64)
    return Trace(np.array(times, np.float64), column, column, column, np.zeros(len(times), np.uint8), lost, damaged)


def test_an_empty_trace_has_counters():
    empty = Trace.empty(lost=2, damaged=3)
    assert (len(empty), empty.lost, empty.damaged) == (0, 2, 3)
    assert empty.inputs.dtype == np.uint8


def test_joined_keeps_the_samples_in_order_and_adds_the_counters():
    whole = Trace.concatenate([trace(0, 1, lost=1), Trace.empty(damaged=4), trace(2, 3, 4, lost=2)])
    assert whole.time_s.tolist() == [0, 1, 2, 3, 4]
    assert whole.power_w.tolist() == [0, 1, 0, 1, 2]
    assert (whole.lost, whole.damaged) == (3, 4)


def test_joining_nothing_is_empty():
    assert len(Trace.concatenate([])) == 0
    assert Trace.concatenate(iter([Trace.empty(lost=7)])).lost == 7


@pytest.mark.parametrize("times", [(0, 1, 1), (1, 0), (0, np.nan, 2), (np.nan,), (0, np.inf)])
def test_time_increases(times):
    with pytest.raises(TraceError) as caught:
        trace(*times)
    assert caught.value.exit_code == 11


def test_joining_what_goes_back_in_time_is_refused():
    with pytest.raises(TraceError, match="does not increase"):
        Trace.concatenate([trace(0, 1), trace(1, 2)])


def test_columns_are_of_one_length():
    with pytest.raises(TraceError, match="2 times"):
        Trace(np.arange(2.0), np.arange(3.0), np.arange(2.0), np.arange(2.0), np.zeros(2, np.uint8))
