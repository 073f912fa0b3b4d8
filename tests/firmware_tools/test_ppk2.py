"""The PPK2's stream has no check sum: what the counter confirms is output, the rest is searched and counted."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import assert_same, cuts, decoder, fed, pieces

from firmware_tools.codecs.ppk2_calibration import (
    GET_METADATA,
    START,
    STOP,
    Ppk2Calibration,
    current_table,
    parse_metadata,
    supply_command,
)
from firmware_tools.errors import MetadataError, SettingError

CONSTANTS = {
    "R": (1003.35, 101.58, 10.302, 0.9636, 0.0564),
    "GS": (1.2, 0.9, 0.5, 0.1, 0.02),
    "GI": (1.0, 0.99, 1.01, 1.0, 0.98),
    "O": (112.7, 105.1, 98.3, 80.2, 60.1),
    "S": (1e-8, 1e-7, 1e-6, 1e-6, 2e-5),
    "I": (-1e-8, 1e-7, 2e-6, 1e-5, 1e-5),
    "UG": (1.0, 1.0, 1.0, 1.01, 1.0),
}
CALIBRATION = Ppk2Calibration(*CONSTANTS.values())
SUPPLY_V = 3.3


def metadata(**changed):
    lines = {f"{key}{index}": value for key, values in CONSTANTS.items() for index, value in enumerate(values)}
    text = "".join(f"{key}: {value}\n" for key, value in (lines | changed).items() if value is not None)
    return f"Calibrated: 0\n{text}VDD: 3000\nHW: 37740\nmode: 2\nIA: 56\nEND\n".encode()


def words(adc, ranges=3, inputs=0, *, first=0):
    """The words of samples with consecutive numbers."""
    adc = np.asarray(adc, np.uint32)
    counter = (first + np.arange(len(adc), dtype=np.uint32)) & 0x3F
    shifted = (np.asarray(part, np.uint32) << np.uint32(by) for part, by in ((ranges, 14), (counter, 18), (inputs, 24)))
    return (adc | np.bitwise_or.reduce(np.broadcast_arrays(*shifted))).astype("<u4")


def ppk2(**more):
    return decoder("ppk2", **({"calibration": CALIBRATION, "supply_v": SUPPLY_V} | more))


def noisy(count, seed=0):
    """Words with everything but the counter at random."""
    random = np.random.default_rng(seed)
    return words(random.integers(0, 1 << 14, count), random.integers(0, 5, count), random.integers(0, 256, count))


def exact(trace):
    """Of each sample given: its number, and what the converter and the inputs said."""
    numbers = np.round(trace.time_s * 1e5).astype(int).tolist()
    return list(zip(numbers, trace.current_a.tolist(), trace.inputs.tolist(), strict=True))


def expected(stream):
    current_a = current_table(CALIBRATION, SUPPLY_V)[stream & 0x1FFFF]
    return list(zip(range(len(stream)), current_a.tolist(), (stream >> 24).tolist(), strict=True))


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(0, 2**32), cuts)
def test_a_clean_stream_comes_out_but_for_four_words_at_its_ends(count, seed, places):
    stream = noisy(count, seed)
    trace = fed(ppk2(settle=False), pieces(stream.tobytes(), places))
    assert exact(trace) == expected(stream)[4 : max(count - 4, 4)]
    assert (trace.lost, trace.damaged) == (0, 0)
    assert np.isnan(trace.supply_v).all()
    np.testing.assert_array_equal(trace.power_w, trace.current_a * SUPPLY_V)


lost_words = st.lists(st.tuples(st.integers(20, 80), st.integers(1, 40)), min_size=1, max_size=5)


@settings(deadline=None)
@given(lost_words, st.integers(0, 2**32), cuts)
def test_words_that_were_lost_are_counted_and_time_goes_on(losses, seed, places):
    total = sum(kept + lost for kept, lost in losses) + 30
    stream, kept, place = noisy(total, seed), [], 0
    for keep, lose in losses:
        kept.append(stream[place : place + keep])
        place += keep + lose
    received = np.concatenate([*kept, stream[place:]]).tobytes()
    trace = fed(ppk2(settle=False), pieces(received, places))
    assert_same(trace, ppk2(settle=False).feed(received, 0.0))
    assert set(exact(trace)) <= set(expected(stream))
    assert len(trace) + trace.lost == total - 8
    assert trace.damaged == len(losses)


byte_faults = st.lists(
    st.tuples(st.integers(20, 60), st.sampled_from(["drop", "insert"]), st.integers(1, 60), st.integers(0, 255)),
    min_size=1,
    max_size=5,
)


@settings(deadline=None, max_examples=200)
@given(byte_faults, st.integers(0, 3), st.integers(0, 2**32), cuts)
def test_lost_and_inserted_bytes_are_found_and_nothing_torn_is_given(faults, shift, seed, places):
    stream = noisy(60 * len(faults) + 60, seed)
    data, received, place = stream.tobytes(), bytearray(), 0
    for words_before, what, size, value in faults:
        upto = place + 4 * words_before + shift
        received += data[place:upto]
        place = upto
        if what == "insert":
            received += bytes([value]) * size
        else:
            # A loss ends anywhere, half of the time at the end of a word.
            place = -(-(upto + size) // 4) * 4 if value % 2 else upto + size
    received += data[place:]
    trace = fed(ppk2(settle=False), pieces(bytes(received), places))
    assert_same(trace, ppk2(settle=False).feed(bytes(received), 0.0))
    assert set(exact(trace)) <= set(expected(stream))
    assert exact(trace)[-1] == expected(stream)[-5]
    assert len(trace) + trace.lost == len(stream) - 8


@settings(deadline=None)
@given(st.integers(9, 90), st.integers(18, 23), cuts)
def test_a_wrong_bit_in_a_counter_costs_the_nine_samples_that_rest_on_it(place, bit, places):
    stream = noisy(120, 3)
    bad = stream.copy()
    bad[place] ^= np.uint32(1 << bit)
    trace = fed(ppk2(settle=False), pieces(bad.tobytes(), places))
    lost = set(range(place - 4, place + 5))
    assert exact(trace) == [sample for sample in expected(stream)[4:-4] if sample[0] not in lost]
    assert (trace.lost, trace.damaged) == (9, 1)


def test_a_range_that_does_not_exist_is_never_given():
    stream = noisy(60)
    stream[30] = stream[30] & ~np.uint32(7 << 14) | np.uint32(5 << 14)
    trace = ppk2().feed(stream.tobytes(), 0.0)
    assert np.isfinite(trace.current_a).all()
    assert (trace.lost, trace.damaged) == (9, 1)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=8))
def test_any_bytes_raise_nothing(parts):
    meter = ppk2()
    fed(meter, parts)
    trace = meter.feed(noisy(200).tobytes(), 0.0)
    assert len(trace) >= 200 - 8 - 9


def test_noise_is_not_mistaken_for_samples():
    noise = np.random.default_rng(5).integers(0, 256, 1_000_000, np.uint8).tobytes()
    trace = ppk2().feed(noise, 0.0)
    assert (len(trace), trace.damaged) == (0, 1)


def one_by_one(stream, *, settle):
    """The currents as Nordic's and IRNAS' programs work them out, a sample at a time."""
    out, fast, slow, before, left, since = [], None, None, None, 0, 0
    for word in stream.tolist():
        current, adc = word >> 14 & 7, 4 * (word & 0x3FFF)
        r, gs, gi, o, s, i, ug = (CONSTANTS[key][current] for key in CONSTANTS)
        x = (adc - o) * (1.8 / 163840 / r)
        value = ug * (x * (gs * x + gi) + s * SUPPLY_V + i)
        old = fast, slow
        fast = value if fast is None else 0.18 * value + 0.82 * fast
        slow = value if slow is None else 0.06 * value + 0.94 * slow
        switched = before is not None and before != current
        if settle and (switched or left > 0):
            since, left = (0, 3) if switched else (since + 1, left)
            if current == 4 and since < 2:
                fast, slow = old
            value = slow if current == 4 else fast
            left -= 1
        before = current
        out.append(value)
    return np.array(out)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 300)), max_size=40), st.integers(0, 2**32), cuts)
def test_samples_after_a_switch_of_the_range_are_those_of_the_vendor(stays, seed, places):
    ranges = np.repeat([stay for stay, _ in stays] or [0], [count for _, count in stays] or [20])
    stream = words(np.random.default_rng(seed).integers(0, 1 << 14, len(ranges)), ranges)
    trace = fed(ppk2(), pieces(stream.tobytes(), places))
    np.testing.assert_allclose(
        trace.current_a, one_by_one(stream[4:], settle=True)[: len(trace)], rtol=1e-9, atol=1e-15
    )
    plain = fed(ppk2(settle=False), pieces(stream.tobytes(), places))
    np.testing.assert_allclose(
        plain.current_a, one_by_one(stream[4:], settle=False)[: len(plain)], rtol=1e-9, atol=1e-15
    )


def test_means_reach_back_over_long_stays():
    ranges = np.repeat([3, 1, 4, 2], [5000, 3000, 2000, 500])
    stream = words(np.random.default_rng(1).integers(0, 1 << 14, len(ranges)), ranges)
    wanted = one_by_one(stream[4:], settle=True)
    # 20008 bytes: the first piece, without a switch, ends three samples before one.
    for size in (1000, 4001, 20008, 1 << 20):
        trace = fed(ppk2(), [stream.tobytes()[at : at + size] for at in range(0, 4 * len(stream), size)])
        np.testing.assert_allclose(trace.current_a, wanted[: len(trace)], rtol=1e-9)


def test_ppk2_api_reads_the_same_currents():
    if not importlib.util.find_spec("ppk2_api"):
        pytest.skip("needs the package ppk2-api, which only `make bench` installs")
    from ppk2_api import ppk2_api

    _, port = os.openpty()
    peer = ppk2_api.PPK2_API(os.ttyname(port))
    peer.current_vdd = round(1000 * SUPPLY_V)
    assert peer._parse_metadata(metadata().decode())
    stream = words(np.random.default_rng(2).integers(0, 1 << 14, 9000), np.repeat([2, 4, 0], 3000))
    theirs = np.array(peer.get_samples(stream.tobytes())[0])[4:-4] * 1e-6
    np.testing.assert_allclose(ppk2().feed(stream.tobytes(), 0.0).current_a, theirs, rtol=1e-12)


def test_metadata_is_read():
    assert parse_metadata(metadata()) == CALIBRATION
    assert parse_metadata(metadata().replace(b"\n", b"\r\n")) == CALIBRATION
    without = parse_metadata(metadata(**{f"UG{index}": None for index in range(5)}))
    assert without.ug == (1.0,) * 5


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (metadata()[:-4], "END is missing"),
        (metadata(R2=None, O4=None), "lacks R2"),
        (metadata(R3="-nan"), "R3 = nan"),
        (metadata(GI1="x"), "not numbers"),
        (metadata(R0=0), "R0 = 0"),
        (metadata(R4=43), "R4 = 43"),
        (metadata(GI2=-1), "GI2 = -1"),
        (metadata(O1=1e6), "O1 = 1e"),
        (metadata(I0=1), "I0 = 1"),
        (metadata(S4="inf"), "S4 = inf"),
        (metadata(GS4=50), "GS4 = 50"),
        (metadata(UG0=0), "UG0 = 0"),
        (b"\xff\x00END", "lacks R0"),
    ],
)
def test_impossible_metadata_is_refused(answer, said):
    with pytest.raises(MetadataError, match=said) as caught:
        parse_metadata(answer)
    assert caught.value.exit_code == 10


@pytest.mark.parametrize("supply_v", [0.79, 5.01, float("nan"), -1.0])
def test_a_voltage_that_the_kit_cannot_have_is_refused(supply_v):
    with pytest.raises(SettingError):
        supply_command(supply_v)
    with pytest.raises(SettingError):
        ppk2(supply_v=supply_v)


def test_commands():
    assert (START, STOP, GET_METADATA) == (b"\x06", b"\x07", b"\x19")
    # 800 mV is 3, 32 (IRNAS/ppk2-api-python), and the pair counts up by one a millivolt.
    assert supply_command(0.8) == b"\x0d\x03\x20"
    assert supply_command(3.3) == b"\x0d" + bytes([3300 // 256, 3300 % 256])
