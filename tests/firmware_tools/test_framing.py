"""Check sums and COBS against their definitions, and the times of samples that only arrived."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_tools.codecs.framing import (
    LONGEST_FRAME,
    arrival_times,
    cobs_encode,
    cobs_frames,
    crc8,
    crc16,
    crc16_modbus,
    crc16_rows,
)

CHECK = b"123456789"


def decoded(stream):
    """All frames of a stream: their payload, or None where the walk failed."""
    bytes_ = np.frombuffer(stream, np.uint8)
    ends = np.flatnonzero(bytes_ == 0)
    out, met = cobs_frames(bytes_, ends)
    starts = [0, *(ends[:-1] + 1)]
    return [out[s + 1 : e].tobytes() if ok else None for s, e, ok in zip(starts, ends, met, strict=True)]


def test_check_values_of_the_catalogue():
    assert crc16(CHECK) == 0x29B1
    assert crc16_modbus(CHECK) == 0x4B37
    assert crc8(CHECK, poly=0x39, start=0x42) == 0x4B
    assert crc8(CHECK, poly=0x07, start=0) == 0xF4


@given(st.integers(1, LONGEST_FRAME), st.integers(0, 2**32))
def test_rows_have_the_sum_of_each(length, seed):
    rows = np.random.default_rng(seed).integers(0, 256, (5, length), np.uint8)
    assert crc16_rows(rows).tolist() == [crc16(row.tobytes()) for row in rows]


@pytest.mark.parametrize(
    ("data", "encoded"),
    # The examples of the paper and of every text since.
    [
        (b"\x00", b"\x01\x01"),
        (b"\x00\x00", b"\x01\x01\x01"),
        (b"\x11\x22\x00\x33", b"\x03\x11\x22\x02\x33"),
        (b"\x11\x22\x33\x44", b"\x05\x11\x22\x33\x44"),
        (b"\x11\x00\x00\x00", b"\x02\x11\x01\x01\x01"),
        (bytes(range(1, 255)), b"\xff" + bytes(range(1, 255)) + b"\x01"),
    ],
)
def test_cobs_examples(data, encoded):
    assert cobs_encode(data) == encoded


@given(st.lists(st.binary(max_size=LONGEST_FRAME - 1), min_size=1, max_size=12))
def test_frames_come_back(payloads):
    stream = b"".join(cobs_encode(payload) + b"\x00" for payload in payloads)
    assert decoded(stream) == payloads


@given(st.binary(max_size=600))
def test_any_bytes_are_frames_or_refused(noise):
    for frame, payload in zip((noise + b"\x00").split(b"\x00"), decoded(noise + b"\x00"), strict=False):
        assert payload is None or cobs_encode(payload) == frame


def test_a_frame_that_is_too_long_is_refused():
    assert decoded(b"\x01" * LONGEST_FRAME + b"\x00") == [bytes(LONGEST_FRAME - 1)]
    assert decoded(b"\x01" * (LONGEST_FRAME + 1) + b"\x00") == [None]


def test_samples_that_came_together_are_spread_since_the_one_before():
    np.testing.assert_allclose(arrival_times(1.0, 2.0, 4, None), [1.25, 1.5, 1.75, 2.0])
    np.testing.assert_allclose(arrival_times(1.0, 2.0, 4, 0.01), [1.97, 1.98, 1.99, 2.0])


@given(st.none() | st.floats(0, 1e6), st.floats(0, 1e6), st.integers(0, 50), st.none() | st.floats(1e-4, 1))
def test_times_of_arrival_increase(before_s, host_s, count, nominal_s):
    times = arrival_times(before_s, host_s, count, nominal_s)
    assert len(times) == count
    assert (np.diff(times) > 0).all()
    assert not count or before_s is None or times[0] > before_s
