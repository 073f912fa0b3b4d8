"""Recordings: the same bits come back; cut, flipped and hostile files; full disks; exports."""

from __future__ import annotations

import errno
import json
import os
import struct
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converters.errors import WriteError
from devices.meters import columns, trace_file
from devices.meters.exports import read_csv, save_csv, save_npz
from devices.meters.meter_contract import MeterInfo
from devices.meters.recording import Recording, load_recording, save_recording
from devices.meters.trace_file import TraceLimits, TraceWriter
from firmware_tools.errors import RecordingError
from firmware_tools.trace import Trace

INFO = MeterInfo("ppk2", "bench", "PPK2 HW 9173", {"mode": "ampere", "supply_mv": 5000}, 1e5, 0.01, 0.001, "assumed",
                 "meter", has_trigger=True, is_estimate=False)  # fmt: skip
COLUMNS = ("time_s", "power_w", "supply_v", "current_a", "inputs")
PARTS = 3


def a_trace(count=40, first_s=0.0, lost=0, damaged=0):
    number = np.arange(count)
    current = 0.5 + 0.01 * (number % 7)
    supply = np.full(count, 5.1)
    return Trace(
        first_s + number * 1e-3, supply * current, supply, current, (number % 2).astype(np.uint8), lost, damaged
    )


def assert_same(first, second):
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
    assert (first.lost, first.damaged) == (second.lost, second.damaged)


def written(path):
    """Write PARTS chunks; return the whole trace and where the file ended after each chunk."""
    ends, parts = [], [a_trace(first_s=float(part), lost=part) for part in range(PARTS)]
    with TraceWriter(path, INFO, notes={"why": "test"}, created="2026-01-01T00:00:00+00:00") as writer:
        ends.append(path.stat().st_size)
        for part in parts:
            writer.add(part, np.array([[part.time_s[-1], 100.0 + part.time_s[-1]]]))
            writer.flush()
            ends.append(path.stat().st_size)
    return parts, ends


numbers = st.floats(allow_nan=False, allow_infinity=False, width=64)


@given(
    st.lists(st.tuples(numbers, numbers, numbers, st.integers(0, 255)), max_size=50),
    st.lists(st.tuples(numbers, numbers), max_size=5),
    st.floats(-1e9, 1e9),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_a_block_gives_the_same_bits_back(rows, pairs, first_s, is_product):
    power, supply, current, inputs = (np.array(each) for each in zip(*rows, strict=True)) if rows else [np.empty(0)] * 4
    if is_product:
        with np.errstate(all="ignore"):
            power = supply * current
        power = np.where(np.isfinite(power), power, 0.0)
    times = first_s + np.arange(len(rows))
    trace = Trace(times, power, supply, current, inputs.astype(np.uint8), 3, 4)
    with np.errstate(all="ignore"):
        back, arrivals = columns.unpack(columns.pack(trace, np.array(pairs, np.float64).reshape(-1, 2)))
    assert_same(trace, back)
    assert arrivals.tolist() == [list(pair) for pair in pairs]


def test_what_is_not_measured_stays_unknown():
    nothing = np.full(3, np.nan)
    trace = Trace(np.arange(3.0), np.ones(3), nothing, nothing, np.zeros(3, np.uint8))
    back, _ = columns.unpack(columns.pack(trace, np.empty((0, 2))))
    assert np.isnan(back.supply_v).all()
    assert np.isnan(back.current_a).all()


def test_a_recording_comes_back_whole(tmp_path):
    pairs = np.array([[0.1, 7.1], [0.2, 7.2]])
    recording = Recording(INFO, a_trace(lost=2, damaged=1), pairs, "2026-01-01T00:00:00+00:00", {"a": [1, None]})
    save_recording(tmp_path / "deep" / "a.edgetrace", recording)
    back = load_recording(tmp_path / "deep" / "a.edgetrace")
    assert_same(recording.trace, back.trace)
    assert np.array_equal(back.arrivals, pairs)
    assert (back.info, back.created, back.notes, back.incomplete) == (INFO, recording.created, {"a": [1, None]}, None)


def test_a_long_trace_is_cut_into_blocks(tmp_path):
    count = columns.MOST_SAMPLES + 7
    trace = Trace(np.arange(count) * 1e-5, np.ones(count), np.ones(count), np.ones(count), np.zeros(count, np.uint8), 5)
    save_recording(tmp_path / "a", Recording(INFO, trace, np.empty((0, 2)), "", {}))
    assert_same(trace, load_recording(tmp_path / "a").trace)
    assert (tmp_path / "a").stat().st_size < count


def test_the_reason_for_an_early_end_is_stored(tmp_path):
    save_recording(tmp_path / "a", Recording(INFO, a_trace(), np.empty((0, 2)), "", {}, incomplete="unplugged"))
    assert load_recording(tmp_path / "a").incomplete == "unplugged"


def test_a_file_cut_at_any_byte_keeps_the_chunks_before(tmp_path):
    parts, ends = written(tmp_path / "whole")
    data, cut = (tmp_path / "whole").read_bytes(), tmp_path / "cut"
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        if length < ends[0]:
            with pytest.raises(RecordingError):
                load_recording(cut)
            continue
        kept = sum(end <= length for end in ends[1:])
        back = load_recording(cut)
        assert_same(Trace.concatenate(parts[:kept]), back.trace)
        assert back.incomplete
        assert back.info == INFO


@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_is_always_detected(tmp_path, data):
    whole = tmp_path / "whole"
    if not whole.exists():
        written(whole)
    original = load_recording(whole)
    content = bytearray(whole.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    (tmp_path / "flipped").write_bytes(content)
    try:
        back = load_recording(tmp_path / "flipped")
    except RecordingError:
        return
    kept = len(back.trace)
    assert back.incomplete
    assert kept < len(original.trace) or place > len(content) - 120  # the end mark says nothing about samples
    for name in COLUMNS:
        assert np.array_equal(getattr(back.trace, name), getattr(original.trace, name)[:kept], equal_nan=True)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_end_as_a_message(tmp_path, content):
    (tmp_path / "any").write_bytes(trace_file.MAGIC + content)
    with pytest.raises(RecordingError):
        load_recording(tmp_path / "any")


def framed(kind, content):
    head = struct.pack("<4sI", kind, len(content)) + content
    return head + struct.pack("<I", zlib.crc32(head))


def header(tmp_path):
    path = tmp_path / "header"
    with TraceWriter(path, INFO, created="x"):
        end = path.stat().st_size
    return path.read_bytes()[:end]


def block(count=0, pairs=0, flags=0, lost=0, damaged=0, body=b""):
    return struct.pack("<IIIQQ", count, pairs, flags, lost, damaged) + zlib.compress(body)


HOSTILE = {
    "more samples than a block may have": block(count=1 << 31),
    "more pairs than a block may have": block(pairs=1 << 31),
    "an unknown flag": block(flags=2),
    "a count beyond reason": block(lost=1 << 60),
    "less than it says": block(count=10),
    "a bomb": block(count=1, body=bytes(10_000_000)),
    "no zlib": struct.pack("<IIIQQ", 1, 0, 0, 0, 0) + b"nonsense",
    "too short": b"\x00",
    "time that stands still": block(count=2, body=bytes(2 * 33)),
    "power that is no number": block(count=1, body=struct.pack("<Q", 1) + b"\xff" * 24 + b"\x00"),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_block_is_refused(tmp_path, content):
    path = tmp_path / "hostile"
    path.write_bytes(header(tmp_path) + framed(b"DATA", content))
    with pytest.raises(RecordingError, match="cannot be used"):
        load_recording(path)


@pytest.mark.parametrize(
    "chunks",
    [
        framed(b"DATA", b""),
        framed(b"HEAD", b"{}"),
        framed(b"HEAD", b"not json"),
        framed(b"HEAD", b"[" * 100_000),
        framed(b"HEAD", b'{"created": NaN, "meter": {}, "notes": {}}'),
        framed(b"HEAD", b'{"created": "", "meter": {}, "notes": {}}'),
        struct.pack("<4sI", b"HEAD", 0xFFFFFFFF),
    ],
)
def test_a_hostile_head_is_refused(tmp_path, chunks):
    (tmp_path / "hostile").write_bytes(trace_file.MAGIC + chunks)
    with pytest.raises(RecordingError):
        load_recording(tmp_path / "hostile")


@pytest.mark.parametrize("field", ["kind", "clock", "gain_uncertainty", "is_estimate", "settings", "nominal_rate_hz"])
def test_a_head_with_a_field_of_the_wrong_type_is_refused(tmp_path, field):
    told = json.loads(header(tmp_path)[16:-4])
    told["meter"][field] = -1
    (tmp_path / "hostile").write_bytes(trace_file.MAGIC + framed(b"HEAD", json.dumps(told).encode()))
    with pytest.raises(RecordingError, match="wrong type"):
        load_recording(tmp_path / "hostile")


@pytest.mark.parametrize(
    ("times", "powers", "said"),
    [
        ([-1.7e308, 0, 1.7e308], [1, 1, 1], "times beyond"),
        ([0, 1e9, 1.1e9], [1, 1, 1], "apart"),
        ([0, 1, 2], [1e308, -1e308, 1e308], "power beyond"),
    ],
)
def test_numbers_beyond_reason_are_refused(tmp_path, times, powers, said):
    nothing = np.full(3, np.nan)
    trace = Trace(np.array(times, float), np.array(powers, float), nothing, nothing, np.zeros(3, np.uint8))
    save_recording(tmp_path / "a", Recording(INFO, trace, np.empty((0, 2)), "", {}))
    with pytest.raises(RecordingError, match=said):
        load_recording(tmp_path / "a")
    save_csv(tmp_path / "a.csv", Recording(INFO, trace, np.empty((0, 2)), "", {}))
    with pytest.raises(RecordingError, match=said):
        read_csv(tmp_path / "a.csv")


def test_arrivals_beyond_reason_are_refused(tmp_path):
    save_recording(tmp_path / "a", Recording(INFO, a_trace(), np.array([[0.0, 1e300]]), "", {}))
    with pytest.raises(RecordingError, match="times beyond"):
        load_recording(tmp_path / "a")


@pytest.mark.parametrize(
    "field", [{"gain_uncertainty": 1.5}, {"offset_uncertainty_w": 1e300}, {"nominal_rate_hz": 1e-320}]
)
def test_a_meter_that_cannot_be_is_refused(tmp_path, field):
    save_recording(tmp_path / "a", Recording(replace(INFO, **field), a_trace(), np.empty((0, 2)), "", {}))
    with pytest.raises(RecordingError, match="impossible"):
        load_recording(tmp_path / "a")


def test_a_small_file_never_becomes_a_large_memory(tmp_path):
    limits = TraceLimits(free_samples=10_000)
    count = 100_000
    nothing, power = np.full(count, np.nan), np.random.default_rng(1).normal(size=count)
    for values in (power, np.ones(count)):
        trace = Trace(np.arange(count) / 1024, values, nothing, nothing, np.zeros(count, np.uint8))
        save_recording(tmp_path / "a", Recording(INFO, trace, np.empty((0, 2)), "", {}))
        if values is power:
            assert_same(load_recording(tmp_path / "a", limits=limits).trace, trace)
    with pytest.raises(RecordingError, match="less than a byte each"):
        load_recording(tmp_path / "a", limits=limits)


def test_a_steady_recording_of_any_length_is_read(tmp_path):
    limits = TraceLimits(free_samples=100_000)
    count = 5 * columns.MOST_SAMPLES
    nothing, power = np.full(count, np.nan), np.ones(count)
    trace = Trace(np.arange(count) / 1024, power, nothing, nothing, np.zeros(count, np.uint8))
    save_recording(tmp_path / "a", Recording(INFO, trace, np.empty((0, 2)), "", {}), limits=limits)
    assert_same(load_recording(tmp_path / "a", limits=limits).trace, trace)
    assert (tmp_path / "a").stat().st_size < 2 * count


def test_no_more_is_written_than_can_be_read(tmp_path):
    limits = TraceLimits(samples=100)

    def write_too_many():
        with TraceWriter(tmp_path / "a", INFO, limits=limits) as writer:
            for first_s in range(3):
                writer.add(a_trace(first_s=float(first_s)), np.empty((0, 2)))

    with pytest.raises(WriteError, match="holds at most 100 samples") as caught:
        write_too_many()
    assert "the 80 samples before are valid" in caught.value.hint
    back = load_recording(tmp_path / "a", limits=TraceLimits(samples=100))
    assert len(back.trace) == 80
    assert "holds at most 100 samples" in back.incomplete


def test_a_block_with_one_sample_too_many_is_refused(tmp_path):
    count = columns.MOST_SAMPLES + 1
    trace = Trace(np.arange(count) * 1.0, np.ones(count), np.ones(count), np.ones(count), np.zeros(count, np.uint8))
    with pytest.raises(RecordingError, match="impossible counts"):
        columns.unpack(columns.pack(trace, np.empty((0, 2))))


def test_a_bomb_never_unfolds(tmp_path):
    content = block(count=1, body=bytes(100_000_000))
    tracemalloc.start()
    with pytest.raises(RecordingError, match="not have the length it states"):
        columns.unpack(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_time_that_goes_back_between_chunks_is_refused(tmp_path):
    path = tmp_path / "back"
    with TraceWriter(path, INFO) as writer:
        for first_s in (1.0, 0.5):
            writer.add(a_trace(first_s=first_s), np.empty((0, 2)))
            writer.flush()
    with pytest.raises(RecordingError, match="goes back"):
        load_recording(path)


def test_chunks_that_follow_the_end_or_repeat_the_head_are_refused(tmp_path):
    written(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    for more in (framed(b"DATA", block()), header(tmp_path)[8:]):
        (tmp_path / "more").write_bytes(whole + more)
        with pytest.raises(RecordingError, match="order"):
            load_recording(tmp_path / "more")


def test_a_chunk_that_is_missing_is_noticed(tmp_path):
    _, ends = written(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    (tmp_path / "less").write_bytes(whole[: ends[1]] + whole[ends[2] :])
    with pytest.raises(RecordingError, match="missing"):
        load_recording(tmp_path / "less")


def test_more_samples_than_asked_for_are_refused(tmp_path):
    written(tmp_path / "whole")
    with pytest.raises(RecordingError, match="more than 100 samples"):
        load_recording(tmp_path / "whole", limits=TraceLimits(samples=100))


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", tmp_path / "nothing"):
        with pytest.raises(RecordingError, match=r"not a file|no file"):
            load_recording(path)


def test_the_meters_description_can_be_replaced_until_samples_are_written(tmp_path):
    better = replace(INFO, identity="PPK2, with all that its first samples said")
    with TraceWriter(tmp_path / "a", INFO) as writer:
        writer.restate(replace(better, identity="x" * 999))
        writer.add(a_trace(), np.empty((0, 2)))
        writer.restate(better)
        writer.flush()
        writer.restate(INFO)
    back = load_recording(tmp_path / "a")
    assert (back.info, back.incomplete) == (better, None)
    assert_same(back.trace, a_trace())


def test_an_existing_file_is_not_replaced(tmp_path):
    (tmp_path / "a").write_text("precious")
    with pytest.raises(WriteError, match="already"):
        TraceWriter(tmp_path / "a", INFO).__enter__()
    assert (tmp_path / "a").read_text() == "precious"


def test_an_error_while_recording_is_in_the_file(tmp_path):
    def failing():
        with TraceWriter(tmp_path / "a", INFO) as writer:
            writer.add(a_trace(), np.empty((0, 2)))
            raise OSError("the cable was pulled")

    with pytest.raises(OSError, match="pulled"):
        failing()
    back = load_recording(tmp_path / "a")
    assert len(back.trace) == 40
    assert back.incomplete == "the cable was pulled"


def test_a_disk_that_is_full_from_the_beginning():
    with pytest.raises(WriteError, match="No space left"):
        TraceWriter(Path("/dev/full"), INFO, replace=True).__enter__()


def test_a_disk_that_fills_up_keeps_what_was_written(small_disk):
    noise = np.random.default_rng(1)
    path, kept, until_full = small_disk / "a", [], replace(INFO)
    with pytest.raises(WriteError, match="No space left") as caught:
        fill(path, until_full, noise, kept)
    assert f"{len(kept) * 500} samples" in caught.value.hint
    back = load_recording(path)
    assert_same(Trace.concatenate(kept), back.trace)
    assert "ends early" in back.incomplete  # after a whole chunk, not inside one


def fill(path, info, noise, kept):
    with TraceWriter(path, info) as writer:
        for number in range(1000):
            values = noise.normal(size=(3, 500))
            times = number + np.arange(500) * 1e-3
            part = Trace(times, *values, np.zeros(500, np.uint8))
            writer.add(part, np.empty((0, 2)))
            writer.flush()
            kept.append(part)


def test_saving_on_a_full_disk_leaves_what_was_there(small_disk):
    path = small_disk / "a"
    save_recording(path, Recording(INFO, a_trace(), np.empty((0, 2)), "", {}))
    before = path.read_bytes()
    noise = np.random.default_rng(1).normal(size=(3, 5000))
    trace = Trace(np.arange(5000.0), *noise, np.zeros(5000, np.uint8))
    with pytest.raises(WriteError):
        save_recording(path, Recording(INFO, trace, np.empty((0, 2)), "", {}))
    assert path.read_bytes() == before
    assert [each.name for each in small_disk.iterdir()] == ["a"]


def test_csv_gives_the_same_bits_back(tmp_path):
    nothing = np.full(3, np.nan)
    trace = Trace(np.array([0.1, 0.2, 0.30000000000000004]), np.array([1 / 3, 2e-17, 5.0]), nothing,
                  np.array([0.1, 0.2, 0.3]), np.array([0, 1, 128], np.uint8))  # fmt: skip
    save_csv(tmp_path / "a.csv", Recording(INFO, trace, np.empty((0, 2)), "", {}))
    assert_same(trace, read_csv(tmp_path / "a.csv").trace)


def test_npz_is_read_without_pickle(tmp_path):
    pairs = np.array([[1.0, 2.0]])
    save_npz(tmp_path / "a.npz", Recording(INFO, a_trace(lost=4), pairs, "then", {"n": 1}))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as read:
        assert np.array_equal(read["power_w"], a_trace().power_w)
        assert int(read["lost"]) == 4
        assert np.array_equal(read["arrivals"], pairs)
        about = json.loads(str(read["about"]))
    assert about["meter"]["identity"] == INFO.identity
    assert about["notes"] == {"n": 1}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "first line"),
        ("time_s,watts\n1,2\n", "first line"),
        ("time_s,power_w,power_w\n1,2,3\n", "first line"),
        ("time_s,power_w\n1\n", "line 2"),
        ("time_s,power_w\n1,2\n2,x\n", "line 3"),
        ("time_s,power_w\n1,\n", "without power"),
        ("time_s,power_w\n2,1\n1,1\n", "does not increase"),
        ("time_s,power_w,inputs\n1,1,256\n", "0 to 255"),
        ("time_s,power_w\n1,nan\n", "without power"),
        ("x" * 5000, "line of over"),
        ("\0" * 10, "first line|no CSV"),
    ],
)
def test_a_csv_that_is_none_is_refused(tmp_path, text, what):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(RecordingError, match=what):
        read_csv(tmp_path / "a.csv")


def test_power_of_a_csv_follows_from_voltage_and_current(tmp_path):
    (tmp_path / "a.csv").write_text("time_s,supply_v,current_a\n1,5,0.5\n2,5,1\n")
    assert read_csv(tmp_path / "a.csv").trace.power_w.tolist() == [2.5, 5.0]


def test_exports_on_a_full_disk_leave_nothing(small_disk):
    noise = np.random.default_rng(1).normal(size=(3, 5000))
    recording = Recording(INFO, Trace(np.arange(5000.0), *noise, np.zeros(5000, np.uint8)), np.empty((0, 2)), "", {})
    for save in (save_csv, save_npz):
        with pytest.raises(WriteError) as caught:
            save(small_disk / "a", recording)
        assert caught.value.__cause__.errno == errno.ENOSPC
    assert list(small_disk.iterdir()) == []
