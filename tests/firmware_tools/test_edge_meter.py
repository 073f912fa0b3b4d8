"""The codec of our own meter: every decoded sample was sent, and missing ones are counted."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import assert_same, cuts, decoder, errors, fed, pieces, with_errors

from firmware_tools.codecs.edge_commands import (
    KIND_COMMAND,
    KIND_REPLY,
    KIND_SAMPLES,
    Command,
    Configuration,
    Identity,
    InaChip,
    Reply,
    ReplyStatus,
    SelfTest,
    Stopped,
    calibrate,
    command,
    configure,
    frame,
    parse_calibration,
)
from firmware_tools.codecs.framing import cobs_encode, crc16
from firmware_tools.errors import ReplyError, SettingError

IDENTITY = Identity(InaChip.INA226, (1, 2, 3), Configuration(3, 4, 4, 1000), 100_000, calibrated=True)
IDENTIFY = struct.pack("<7BIBIIIBB", 1, 1, 2, 3, 3, 4, 4, 100_000, 1, 1000, 0, 0, 0, 0)


def samples(first, records):
    """One frame; a record is (time_us, bus, shunt, inputs)."""
    body = b"".join(struct.pack("<IHhB", time_us % 2**32, *rest) for time_us, *rest in records)
    return frame(KIND_SAMPLES, struct.pack("<I", first % 2**32) + body)


def reply(what, payload=b"", status=ReplyStatus.OK):
    return frame(KIND_REPLY, bytes([what, status]) + payload)


def steady(first, count, *, inputs=0):
    return samples(first, [(1000 * index, 4000, 8000, inputs) for index in range(first, first + count)])


record = st.tuples(st.integers(1, 10**6), st.integers(0, 0xFFFF), st.integers(-0x8000, 0x7FFF), st.integers(0, 127))
# What a meter sends in a run: frames, each after so many samples that it had to drop.
runs = st.lists(st.tuples(st.integers(0, 3), st.lists(record, min_size=1, max_size=16)), min_size=1, max_size=8)


def sent(run, clock_us):
    """The frames of a run that starts at a time, its records by their time, and how many samples it is long."""
    frames, records, sequence = [], {}, 0
    for dropped, steps in run:
        sequence += dropped
        block = []
        for step_us, *rest in steps:
            clock_us += step_us
            block.append((clock_us, *rest))
            records[clock_us % 2**32] = tuple(rest)
        frames.append((sequence, block))
        sequence += len(block)
    return frames, records, sequence, clock_us


def assert_was_sent(trace, records):
    times = np.round(trace.time_s * 1e6).astype(np.int64) % 2**32
    for time_us, supply_v, current_a, power_w, inputs in zip(
        times.tolist(), trace.supply_v, trace.current_a, trace.power_w, trace.inputs, strict=True
    ):
        bus, shunt, sent_inputs = records[time_us]
        assert supply_v == pytest.approx(bus * 1.25e-3)
        assert current_a == pytest.approx(shunt * 2.5e-6 / 0.1)
        assert (power_w, inputs) == (pytest.approx(supply_v * current_a), sent_inputs)


@settings(deadline=None)
@given(runs, st.integers(0, 2**32 - 1), cuts)
def test_a_clean_stream_comes_out_whole_however_it_is_cut(run, clock_us, places):
    frames, records, length, _ = sent(run, clock_us)
    stream = reply(Command.IDENTIFY, IDENTIFY) + reply(Command.START) + b"".join(samples(*part) for part in frames)
    trace = fed(decoder("edge"), pieces(stream, places))
    assert_same(trace, decoder("edge").feed(stream, 0.0))
    assert_was_sent(trace, records)
    assert (len(trace), trace.lost, trace.damaged) == (len(records), length - len(records), 0)


@settings(deadline=None, max_examples=200)
@given(runs, st.integers(0, 2**32 - 1), errors, cuts)
def test_errors_anywhere_invent_no_sample_and_every_loss_is_counted(run, clock_us, faults, places):
    frames, records, length, clock_us = sent(run, clock_us)
    middle = with_errors(b"".join(samples(*part) for part in frames), faults)
    last = (length, [(clock_us + 500, 1, 2, 3)])
    records[last[1][0][0] % 2**32] = last[1][0][1:]
    # A frame of its own before and after, so that the whole run lies between two samples that came through.
    stream = reply(Command.START) + b"\x00" + middle + b"\x00" + samples(*last)
    trace = fed(decoder("edge", identity=IDENTITY), pieces(stream, places))
    assert_same(trace, decoder("edge", identity=IDENTITY).feed(stream, 0.0))
    assert_was_sent(trace, records)
    assert len(trace) + trace.lost == length + 1


@settings(deadline=None)
@given(st.lists(st.binary(max_size=400), max_size=6))
def test_noise_gives_no_samples_and_no_exception(parts):
    noisy = decoder("edge", identity=IDENTITY)
    assert len(fed(noisy, parts)) == 0
    # Whatever came before, the next whole frame is read.
    assert len(noisy.feed(b"\x00" + steady(0, 4), 0.0)) == 4


def test_a_frame_without_an_end_is_dropped_and_counted_once():
    meter = decoder("edge", identity=IDENTITY)
    assert fed(meter, [b"\x01" * 300] * 5).damaged == 0
    assert meter.state.pending == b""
    trace = meter.feed(b"\x01\x00" + steady(0, 2), 0.0)
    assert (len(trace), trace.damaged) == (2, 1)


def test_every_single_bit_error_in_a_frame_is_found():
    good = steady(0, 16)
    for bit in range(8 * (len(good) - 1)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        trace = decoder("edge", identity=IDENTITY).feed(bytes(bad), 0.0)
        assert len(trace) == 0
        assert trace.damaged >= 1


def test_a_number_that_jumps_is_a_loss_and_one_that_goes_back_is_a_new_run():
    meter = decoder("edge", identity=IDENTITY)
    assert meter.feed(steady(100, 4), 0.0).lost == 0
    assert meter.feed(steady(110, 2), 0.0).lost == 6
    assert meter.feed(steady(3, 2), 0.0).lost == 3


def test_sequence_numbers_and_time_wrap():
    meter = decoder("edge", identity=IDENTITY)
    first = meter.feed(samples(2**32 - 1, [(2**32 - 500, 1, 1, 0)]), 0.0)
    second = meter.feed(samples(0, [(500, 1, 1, 0)]), 0.0)
    assert second.lost == 0
    assert second.time_s[0] - first.time_s[0] == pytest.approx(1e-3)


def test_a_reply_to_start_makes_the_first_missing_samples_count():
    assert decoder("edge", identity=IDENTITY).feed(reply(Command.START) + steady(5, 1), 0.0).lost == 5
    refused = reply(Command.START, status=ReplyStatus.CHIP_SILENT)
    assert decoder("edge", identity=IDENTITY).feed(refused + steady(5, 1), 0.0).lost == 0


def test_conversions_that_overflowed_and_time_that_stands_still_are_thrown_away():
    trace = decoder("edge", identity=IDENTITY).feed(
        samples(0, [(1, 10, 10, 0), (2, 11, 11, 0x80), (2, 12, 12, 0), (2, 13, 13, 0), (3, 14, 14, 1)]), 0.0
    )
    assert trace.supply_v.tolist() == [10 * 1.25e-3, 14 * 1.25e-3]
    assert (trace.inputs.tolist(), trace.damaged, trace.lost) == ([0, 1], 3, 0)


def test_samples_before_the_scales_are_known_are_thrown_away():
    meter = decoder("edge")
    early = meter.feed(steady(0, 3), 0.0)
    assert (len(early), early.damaged) == (0, 1)
    assert len(meter.feed(reply(Command.IDENTIFY, IDENTIFY) + steady(3, 3), 0.0)) == 3


@pytest.mark.parametrize(
    ("chip", "shunt_uohm", "supply_v", "current_a"),
    # 4000 and 8000 steps: SBOS547 (INA226), SBOS448 (INA219), SBOS656 (INA260).
    [(InaChip.INA226, 100_000, 5.0, 0.2), (InaChip.INA219, 100_000, 16.0, 0.8), (InaChip.INA260, 0, 5.0, 10.0)],
)
def test_scales_of_the_chips(chip, shunt_uohm, supply_v, current_a):
    identity = replace(IDENTITY, chip=chip, shunt_uohm=shunt_uohm)
    trace = decoder("edge", identity=identity).feed(steady(0, 1), 0.0)
    assert (trace.supply_v[0], trace.current_a[0]) == (pytest.approx(supply_v), pytest.approx(current_a))
    assert trace.power_w[0] == pytest.approx(supply_v * current_a)


def test_a_new_calibration_scales_what_comes_after_it():
    meter = decoder("edge", identity=IDENTITY)
    stream = steady(0, 1) + reply(Command.CALIBRATE, struct.pack("<I", 50_000)) + steady(1, 1)
    np.testing.assert_allclose(meter.feed(stream, 0.0).current_a, [0.2, 0.4])
    assert meter.state.identity.shunt_uohm == 50_000


def test_replies_are_available_until_the_next_call():
    meter = decoder("edge")
    meter.feed(reply(Command.IDENTIFY, IDENTIFY)[:7], 0.0)
    assert meter.state.replies == ()
    meter.feed(reply(Command.IDENTIFY, IDENTIFY)[7:] + reply(Command.STOP, bytes(8)), 0.0)
    first, second = meter.state.replies
    assert Identity.parse(first) == IDENTITY
    assert Stopped.parse(second) == Stopped(0, 0)
    meter.feed(b"", 0.0)
    assert meter.state.replies == ()


def test_what_has_a_right_sum_and_a_wrong_shape_is_damaged():
    wrong = [
        frame(KIND_SAMPLES, bytes(4)),
        frame(KIND_SAMPLES, bytes(4 + 9 * 17)),
        frame(KIND_SAMPLES, bytes(4 + 8)),
        frame(KIND_SAMPLES, bytes(4 + 9), version=2),
        frame(KIND_COMMAND, b"\x01"),
        frame(KIND_REPLY, b"\x01"),
    ]
    trace = decoder("edge", identity=IDENTITY).feed(b"".join(wrong), 0.0)
    assert (len(trace), trace.damaged) == (0, len(wrong))


def test_commands_are_the_bytes_of_the_protocol():
    def known(payload):
        return cobs_encode(payload + crc16(payload).to_bytes(2, "little")) + b"\x00"

    assert command(Command.IDENTIFY) == known(b"\x18\x01")
    assert configure(averaging=2, bus_conversion=4, shunt_conversion=7) == known(b"\x18\x02\x02\x04\x07")
    assert calibrate(100_000) == known(b"\x18\x05\xa0\x86\x01\x00")
    assert command(Command.START) == known(b"\x18\x03")


@pytest.mark.parametrize("shunt_uohm", [0, -1, 10_000_001])
def test_a_shunt_that_cannot_be_is_refused(shunt_uohm):
    with pytest.raises(SettingError):
        calibrate(shunt_uohm)


def test_a_code_that_cannot_be_is_refused():
    with pytest.raises(SettingError, match="between 0 and 7"):
        configure(averaging=8, bus_conversion=0, shunt_conversion=0)


def test_replies_are_read():
    test = Reply(Command.SELF_TEST, ReplyStatus.OK, struct.pack("<BI", 0b1011, 1010))
    assert SelfTest.parse(test) == SelfTest(True, True, False, True, 1010)
    assert Configuration.parse(Reply(Command.CONFIGURE, 0, b"\x01\x02\x03\xe8\x03\x00\x00")).period_us == 1000
    assert parse_calibration(Reply(Command.CALIBRATE, 0, struct.pack("<I", 5))) == 5


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Reply(Command.STOP, 0, b""), "replied to command 4"),
        (Reply(Command.IDENTIFY, 0, b"\x01"), "1 bytes, not 26"),
        (Reply(Command.IDENTIFY, ReplyStatus.CHIP_SILENT, b""), "no answer from its INA chip"),
        (Reply(Command.IDENTIFY, 77, b""), "error 77"),
        (Reply(Command.IDENTIFY, 0, b"\x09" + IDENTIFY[1:]), "chip 9"),
        (Reply(Command.IDENTIFY, 0, IDENTIFY[:7] + bytes(4) + IDENTIFY[11:]), "without resistance"),
    ],
)
def test_an_invalid_reply_is_explained(answer, said):
    with pytest.raises(ReplyError, match=said):
        Identity.parse(answer)


def test_a_clock_that_steps_back_is_no_time_an_hour_later():
    stream = samples(0, [(time_us, 1, 2, 0) for time_us in (1000, 2000, 3000)])
    stream += samples(3, [(time_us, 1, 2, 0) for time_us in (2999, 4000, 3500, 5000)])
    for parts in ([stream], [stream[:-1], stream[-1:]], [stream[: stream.index(0) + 1], stream[stream.index(0) + 1 :]]):
        trace = fed(decoder("edge", identity=IDENTITY), parts)
        assert (trace.time_s * 1e6).round().tolist() == [1000, 2000, 3000, 4000, 5000]
        assert (trace.lost, trace.damaged) == (0, 2)
    more = [samples(7, [(4999, 1, 2, 0)]), samples(8, [(5001, 1, 2, 0)])]
    last = fed(decoder("edge", identity=IDENTITY), [stream, *more])
    assert last.time_s[-1] == pytest.approx(5001e-6)
    assert last.damaged == 3


def test_time_never_goes_back_when_the_meters_clock_restarts():
    feed = decoder("edge", identity=IDENTITY).feed
    parts = [steady(5000, 16), reply(Command.START), steady(0, 16), reply(Command.STOP), steady(16, 16), steady(32, 16)]
    together = feed(b"".join(parts), 0.0)
    assert (len(together), together.damaged) == (16, 48)  # time is strictly increasing, as each trace checks
    assert len(feed(steady(5016, 16), 0.0)) == 16  # from where it had been


def test_a_meter_without_time_between_samples_is_refused():
    payload = struct.pack("<7BIBIIIBB", 1, 1, 2, 3, 3, 4, 4, 100_000, 1, 0, 0, 0, 0, 0)
    with pytest.raises(ReplyError, match="no time between"):
        Identity.parse(Reply(Command.IDENTIFY, 0, payload))
