"""USB meters that are asked (UM25C, TC66C) or send reports (FNIRSI): frames of one length, found in any stream."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import cuts, decoder, errors, fed, pieces, with_errors

from firmware_tools.codecs import fnirsi_reports, tc66c, um25c
from firmware_tools.codecs.framing import crc8, crc16_modbus

ENCRYPT = Cipher(algorithms.AES(tc66c.KEY), modes.ECB()).encryptor().update


def um_answer(model, volts, amperes, milliwatts, *, energy_mwh=0):
    """An answer with raw values; the rest of it is noise."""
    answer = bytearray(np.random.default_rng(volts).integers(1, 200, 130, np.uint8).tobytes())
    struct.pack_into(">HHHI", answer, 0, model, volts, amperes, milliwatts)
    struct.pack_into(">I", answer, 106, energy_mwh)
    answer[128:] = b"\xff\xf1"
    if model == 0x0D4C:
        odd = "1 3 7 9 15 17 19 23 31 39 41 45 49 53 55 57 59 63 67 69 73 79 83 89 97 99 109 111 113 119 121 127"
        answer[129] = int(np.bitwise_xor.reduce([answer[int(place)] for place in odd.split()]))
    return bytes(answer)


def tc_answer(volts, amperes, power):
    parts = [bytearray(np.random.default_rng(volts).integers(0, 256, 60, np.uint8).tobytes()) for _ in range(3)]
    for number, part in enumerate(parts, 1):
        part[:4] = b"pac%d" % number
    struct.pack_into("<4s4sI", parts[0], 4, b"TC66", b"1.15", 1234)
    struct.pack_into("<III", parts[0], 48, volts, amperes, power)
    return ENCRYPT(b"".join(bytes(part) + crc16_modbus(bytes(part)).to_bytes(4, "little") for part in parts))


def fnirsi_report(volts, amperes, *, kind=4):
    records = b"".join(struct.pack("<IIHHBH", volts, amperes + index, 600, 2700, 1, 250) for index in range(4))
    body = bytes([kind]) + records + b"\x07"
    return b"\xaa" + body + bytes([crc8(body, poly=0x39, start=0x42)])


@dataclass(frozen=True)
class Kind:
    """A meter: its codec, an answer to raw volts and amperes, and the samples in it."""

    name: str
    answer: object
    steps: tuple[float, float, float]
    samples: int = 1
    checked: bool = True


KINDS = [
    Kind("um25c", lambda v, a: um_answer(0x09C9, v, a, round(v * a / 1e4)), (1e-3, 1e-4, 1e-3), checked=False),
    Kind("um25c", lambda v, a: um_answer(0x0963, v, a, round(v * a / 100)), (1e-2, 1e-3, 1e-3), checked=False),
    Kind("um25c", lambda v, a: um_answer(0x0D4C, v, a, round(v * a / 100)), (1e-2, 1e-3, 1e-3), checked=False),
    Kind("tc66c", lambda v, a: tc_answer(v, a, v * a // 100_000), (1e-4, 1e-5, 1e-4)),
    Kind("fnirsi", fnirsi_report, (1e-5, 1e-5, 0.0), samples=4),
]
raw = st.lists(st.tuples(st.integers(1, 30_000), st.integers(0, 30_000)), min_size=1, max_size=4)
kinds = pytest.mark.parametrize("kind", KINDS, ids=["um25c", "um24c", "um34c", "tc66c", "fnirsi"])


def values(trace):
    return list(zip(trace.supply_v.round(7).tolist(), trace.current_a.round(7).tolist(), strict=True))


def sent(kind, readings):
    step_v, step_a, _ = kind.steps
    return [
        (round(volts * step_v, 7), round((amperes + index) * step_a, 7))
        for volts, amperes in readings
        for index in range(kind.samples)
    ]


@kinds
@settings(deadline=None, max_examples=40)
@given(raw, cuts)
def test_answers_come_out_however_they_are_cut(kind, readings, places):
    stream = b"".join(kind.answer(*reading) for reading in readings)
    trace = fed(decoder(kind.name), pieces(stream, places))
    assert values(trace) == sent(kind, readings)
    np.testing.assert_allclose(trace.power_w, trace.supply_v * trace.current_a, atol=1.01e-3, rtol=1e-4)
    assert (trace.lost, trace.damaged) == (0, 0)


@kinds
@settings(deadline=None, max_examples=40)
@given(raw, errors, cuts)
def test_errors_anywhere_raise_nothing_and_the_next_answer_is_found(kind, readings, faults, places):
    clean = b"".join(kind.answer(*reading) for reading in readings)
    # Behind the errors, first what a frame cut short would swallow.
    stream = with_errors(clean, faults) + bytes(200) + kind.answer(4321, 1234)
    trace = fed(decoder(kind.name), pieces(stream, places))
    whole = decoder(kind.name).feed(stream, 5.0)
    assert (values(trace), trace.damaged) == (values(whole), whole.damaged)
    assert values(trace)[-1] == sent(kind, [(4321, 1234)])[-1]
    assert trace.damaged >= 1
    if kind.checked and all(what == "flip" for _, what, _ in faults) and len(faults) <= 1:
        assert set(values(trace)) <= set(sent(kind, [*readings, (4321, 1234)]))


@pytest.mark.parametrize("name", ["um25c", "tc66c", "fnirsi"])
@settings(deadline=None, max_examples=40)
@given(noise=st.lists(st.binary(max_size=300), max_size=5))
def test_noise_gives_no_samples(name, noise):
    assert len(fed(decoder(name), noise)) == 0


@kinds
def test_every_wrong_bit_is_found_where_there_is_a_sum(kind):
    good = kind.answer(5100, 4000)
    passed = 0
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        # Two whole ones behind it show that nothing hides in the search for the next.
        trace = decoder(kind.name).feed(bytes(bad) + good + good, 1.0)
        if len(trace) == 3 * kind.samples:
            passed += 1
            # 5 % and 50 mW: what the power in the same answer leaves open.
            assert abs(trace.power_w[0] / trace.power_w[1] - 1) < 0.06 + 0.05 / trace.power_w[1]
        else:
            assert values(trace) == values(decoder(kind.name).feed(good + good, 1.0))
            assert trace.damaged == 1
    assert passed == 0 or not kind.checked


@pytest.mark.parametrize(("model", "place"), [(0x0963, 128), (0x09C9, 129), (0x0D4C, 129), (0x0D4C, 109)])
def test_a_wrong_end_or_sum_is_damaged(model, place):
    answer = bytearray(um_answer(model, 500, 0, 0))
    answer[place] ^= 1
    trace = decoder("um25c").feed(bytes(answer), 1.0)
    assert (len(trace), trace.damaged) == (0, 1)


def test_um_fields_and_models():
    meter = decoder("um25c")
    trace = meter.feed(um_answer(0x09C9, 5123, 12345, 6324, energy_mwh=77), 2.5)
    assert (trace.supply_v[0], trace.current_a[0], trace.power_w[0]) == pytest.approx((5.123, 1.2345, 6.324))
    assert trace.time_s.tolist() == [2.5]
    assert (meter.state.model, meter.state.energy_wh) == ("UM25C", pytest.approx(0.077))
    meter.feed(um_answer(0x0D4C, 512, 1234, 6318), 3.0)
    assert meter.state.model == "UM34C"
    assert um25c.REQUEST == b"\xf0"


def test_tc66c_fields():
    meter = decoder("tc66c")
    trace = meter.feed(tc_answer(51234, 123456, 63251), 2.5)
    assert (trace.supply_v[0], trace.current_a[0], trace.power_w[0]) == pytest.approx((5.1234, 1.23456, 6.3251))
    assert meter.state.identity == "TC66 1.15 serial 1234"


def test_fnirsi_requests_are_the_bytes_that_were_seen_on_the_wire():
    # Check sums 0x8E, 0x96, 0x9E: baryluk/fnirsi-usb-power-data-logger.
    for kind, check in ((0x81, 0x8E), (0x82, 0x96), (0x83, 0x9E)):
        assert fnirsi_reports.request(kind) == bytes([0xAA, kind]) + bytes(61) + bytes([check])


def test_fnirsi_reports_of_another_kind_are_neither_samples_nor_damaged():
    trace = decoder("fnirsi").feed(fnirsi_report(1, 1, kind=3) + fnirsi_report(500_000, 10_000), 1.0)
    assert (len(trace), trace.damaged) == (4, 0)
    np.testing.assert_allclose(trace.power_w[0], 5.0 * 0.1)


def test_fnirsi_samples_are_spread_since_the_report_before_but_not_over_a_pause():
    meter = decoder("fnirsi")
    times = [meter.feed(fnirsi_report(1, 1), host_s).time_s.tolist() for host_s in (1.0, 1.036, 9.0)]
    assert times[0] == pytest.approx([0.97, 0.98, 0.99, 1.0])
    assert times[1] == pytest.approx([1.009, 1.018, 1.027, 1.036])
    assert times[2] == pytest.approx([8.97, 8.98, 8.99, 9.0])


def test_answers_that_come_together_have_different_times():
    meter = decoder("um25c")
    first = meter.feed(um_answer(0x09C9, 5000, 0, 0) * 3, 7.0)
    second = meter.feed(um_answer(0x09C9, 5000, 0, 0) * 2, 7.0)
    assert (np.diff(np.concatenate([first.time_s, second.time_s])) > 0).all()


class CountingBytes(bytes):
    """Bytes that add up how far they are searched."""

    searched = 0

    def find(self, what, start=0, end=sys.maxsize):
        at = super().find(what, start, end)
        CountingBytes.searched += (at if at >= 0 else min(end, len(self))) - start
        return at


def test_a_stream_full_of_one_models_number_is_not_searched_again_and_again():
    stream = CountingBytes(b"\x09\x63" * 2000)
    CountingBytes.searched = 0
    for place in range(0, len(stream), 2):
        assert um25c._likely(stream, place) == place
    assert CountingBytes.searched <= len(stream) * um25c.LENGTH
