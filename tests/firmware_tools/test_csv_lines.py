"""Lines of text from any sketch, and the import of codecs on use."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import cuts, decoder, errors, fed, pieces, with_errors

from firmware_tools.errors import SettingError

readings = st.lists(st.tuples(st.integers(0, 60_000), st.integers(-9_000, 9_000)), max_size=12)
ends = st.sampled_from(["\n", "\r\n", "\r", "\n\n"])


def lines(rows, end="\n"):
    return "".join(f"{volts / 1000:.3f},{amps / 1000:.4f}{end}" for volts, amps in rows).encode()


def rows_of(trace):
    return list(zip((trace.supply_v * 1000).round().tolist(), (trace.current_a * 1000).round().tolist(), strict=True))


@settings(deadline=None)
@given(readings, ends, cuts)
def test_lines_come_out_however_they_are_cut(rows, end, places):
    trace = fed(decoder("csv"), pieces(b"volts,amps" + end.encode() + lines(rows, end), places))
    assert rows_of(trace) == rows
    assert (trace.lost, trace.damaged) == (0, 0)
    np.testing.assert_array_equal(trace.power_w, trace.supply_v * trace.current_a)


@settings(deadline=None)
@given(readings, errors, cuts)
def test_errors_anywhere_raise_nothing(rows, faults, places):
    stream = with_errors(lines(rows), faults) + b"\n5.000,0.100\n"
    trace = fed(decoder("csv"), pieces(stream, places))
    whole = decoder("csv").feed(stream, 5.0)
    assert (rows_of(trace), trace.damaged) == (rows_of(whole), whole.damaged)
    assert rows_of(trace)[-1] == (5000, 100)
    assert len(trace) + trace.damaged <= stream.count(b"\n") + stream.count(b"\r")


@settings(deadline=None)
@given(st.lists(st.binary(max_size=400), max_size=5))
def test_any_bytes_raise_nothing(parts):
    text = decoder("csv")
    fed(text, parts)
    assert rows_of(text.feed(b"\n1,2\n", 1.0))[-1] == (1000, 2000)


@pytest.mark.parametrize(
    "junk",
    [
        b"hello", b"1", b"1,2,3", b"1,", b"1,2,", b"nan,1", b"inf,1", b"1e999,1", b"1_0,1", b"0x1,1", b"1 2,3",
        b"5.0.1,1", b"1001,1", b"1,-1001", b"\xff\xfe,1", b"1;2", b"volts,volts", b"watts,amps", b"9" * 300 + b",1",
        b"--1,1", b".,1", "\u0661,1".encode(),
    ],
)  # fmt: skip
def test_junk_is_damaged_and_gives_nothing(junk):
    trace = decoder("csv").feed(b"\n5.0,0.1\n" + junk + b"\n5.1,0.2\r\n", 1.0)
    assert rows_of(trace) == [(5000, 100), (5100, 200)]
    assert trace.damaged == 1


def test_a_line_without_an_end_is_dropped_and_counted_once():
    text = decoder("csv")
    assert fed(text, [b"\n", *[b"9" * 300] * 4]).damaged == 0
    assert text.state.pending == b""
    trace = text.feed(b",1\n5.0,0.1\n", 1.0)
    assert (rows_of(trace), trace.damaged) == ([(5000, 100)], 1)


def test_what_precedes_the_first_end_of_a_line_may_be_cut_and_is_thrown_away():
    trace = decoder("csv").feed(b"5.0,0.1\n15.0,0.1\n", 1.0)
    assert (rows_of(trace), trace.damaged) == ([(15000, 100)], 0)
    assert len(decoder("csv").feed(b"volts,amps\n15.0,0.1\n", 1.0)) == 1


@pytest.mark.parametrize("numbers", ["5,.5", "+5.,5e-1", " 5.0 , 0.5 ", "50E-1,0.05e1"])
def test_numbers_as_sketches_print_them(numbers):
    assert rows_of(decoder("csv").feed(f"\n{numbers}\n".encode(), 1.0)) == [(5000, 500)]


def test_a_header_names_units_order_and_time():
    trace = decoder("csv").feed(b"Time_ms, milliamps ,millivolts\n1000,250,5000\n1010,260,5000\n", 9.0)
    assert trace.time_s.tolist() == pytest.approx([1.0, 1.01])
    assert rows_of(trace) == [(5000, 250), (5000, 260)]


def test_the_setting_names_columns_without_a_header():
    trace = decoder("csv", columns="time_us,volts,amps").feed(b"\n1000,5,1\n3000,5,1\n", 9.0)
    assert trace.time_s.tolist() == pytest.approx([1e-3, 3e-3])


def test_three_columns_without_a_header_are_damaged():
    trace = decoder("csv").feed(b"\n1000,5,1\n", 9.0)
    assert (len(trace), trace.damaged) == (0, 1)


def test_time_that_does_not_increase_is_damaged_and_a_wrap_is_taken_out():
    text = decoder("csv", columns="time_us,volts,amps")
    trace = text.feed(f"\n{2**32 - 100},5,1\n{2**32 - 200},5,1\n{2**32 - 100},5,1\n100,5,1\n300,5,1\n".encode(), 9.0)
    assert trace.damaged == 2
    np.testing.assert_allclose(np.diff(trace.time_s), [200e-6, 200e-6], atol=1e-9)


def test_a_second_header_after_a_reset_is_no_damage_but_cannot_take_the_time_away():
    trace = decoder("csv").feed(b"volts,amps\n5,1\nvolts,amps\n5,2\ntime_s,volts,amps\n5,3\n", 1.0)
    assert (rows_of(trace), trace.damaged) == ([(5000, 1000), (5000, 2000), (5000, 3000)], 1)


def test_lines_that_came_together_are_spread_since_the_one_before():
    text = decoder("csv")
    assert text.feed(b"\n5,1\n", 10.0).time_s.tolist() == [10.0]
    assert text.feed(b"5,1\n5,1\n", 11.0).time_s.tolist() == [10.5, 11.0]


@pytest.mark.parametrize("columns", ["volts", "volts,amps,watts", "", "volts,millivolts,amps"])
def test_columns_that_cannot_be_read_are_refused(columns):
    with pytest.raises(SettingError, match="columns"):
        decoder("csv", columns=columns)


def test_codecs_are_imported_on_use():
    code = (
        "import sys, devices.meters.kinds; print([name for name in sys.modules if 'ppk2' in name or 'crypt' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
