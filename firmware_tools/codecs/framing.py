"""Provides the parts that codecs share: decoder, check sums, COBS, frames of a fixed length, times of arrival.

COBS is "consistent overhead byte stuffing" (Cheshire and Baker, IEEE/ACM Transactions on Networking 7(2), 1999): it
takes the zeros out of a frame, so that 0x00 can end it. The check sums are as Koopman and the "catalogue of
parametrised CRC algorithms" name them: CRC-16/CCITT-FALSE (also IBM-3740; check value 0x29B1) and CRC-16/MODBUS (check
value 0x4B37).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from firmware_tools.trace import Trace

# An encoded frame without its end. Short of a full group of 254 bytes, every code byte stands for one zero.
LONGEST_FRAME = 254
# One sample: volts, amperes, watts.
Sample = tuple[float, float, float]
# Decoding a whole recording in pieces of this size keeps the arrays within the processor's cache.
_PIECE = 1 << 18
S = TypeVar("S")


class Decoder(Generic[S]):
    """A codec and the state of one stream.

    Args:
        decode: The codec's function: state, bytes and the host's time to samples and the next state.
        state: The codec's state before the first byte, from its `initial`.
    """

    def __init__(self, decode: Callable[[S, bytes, float], tuple[Trace, S]], state: S) -> None:
        self._decode = decode
        self.state = state

    def feed(self, data: bytes, host_s: float) -> Trace:
        """Decode the complete frames and keep the rest for the next call.

        Args:
            data: The bytes received since the last call, in pieces of any size.
            host_s: time.monotonic() at their arrival; the time of samples from meters without a clock.
        """
        traces = []
        for first in range(0, max(len(data), 1), _PIECE):
            trace, self.state = self._decode(self.state, data[first : first + _PIECE], host_s)
            traces.append(trace)
        return traces[0] if len(traces) == 1 else Trace.concatenate(traces)


@cache
def crc_table(poly: int, *, width: int) -> tuple[int, ...]:
    """Return the 256 remainders of a check sum whose most significant bit comes first."""
    top, mask = 1 << (width - 1), (1 << width) - 1
    table = []
    for value in range(256):
        rest = value << (width - 8)
        for _ in range(8):
            rest = ((rest << 1) ^ poly) & mask if rest & top else rest << 1
        table.append(rest)
    return tuple(table)


def crc16(data: bytes) -> int:
    """Return CRC-16/CCITT-FALSE: polynomial 0x1021, start 0xFFFF, nothing reflected."""
    table, crc = crc_table(0x1021, width=16), 0xFFFF
    for byte in data:
        crc = (crc << 8) & 0xFFFF ^ table[crc >> 8 ^ byte]
    return crc


def crc8(data: bytes, *, poly: int, start: int) -> int:
    """Return an 8-bit check sum, nothing reflected."""
    table, crc = crc_table(poly, width=8), start
    for byte in data:
        crc = table[crc ^ byte]
    return crc


def crc16_modbus(data: bytes) -> int:
    """Return CRC-16/MODBUS: polynomial 0x8005 and bits reflected, start 0xFFFF."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


@cache
def _remainder_table() -> NDArray[np.uint16]:
    """Row k: the contribution of each byte to a CRC-16/CCITT-FALSE when k bytes follow it; the check sum is linear."""
    table = np.array(crc_table(0x1021, width=16), np.uint16)
    rows = [table]
    for _ in range(LONGEST_FRAME - 1):
        rows.append((rows[-1] << 8) ^ table[rows[-1] >> 8])
    return np.stack(rows)


def crc16_rows(rows: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return the CRC-16/CCITT-FALSE of each row of an (n, length) array; at most LONGEST_FRAME columns."""
    length = rows.shape[1]
    # Flat places in the table: a gather of whole rows is several times slower.
    places = rows + 256 * np.arange(length - 1, -1, -1)
    sums: NDArray[np.uint16] = np.bitwise_xor.reduce(_remainder_table().take(places), axis=1)
    return sums ^ np.uint16(crc16(bytes(length)))


def cobs_encode(data: bytes) -> bytes:
    """Return `data` without zeros; the 0x00 that ends a frame is not added."""
    out = bytearray()
    for run in data.split(b"\x00"):
        rest = run
        while len(rest) >= LONGEST_FRAME:
            out += b"\xff" + rest[:LONGEST_FRAME]
            rest = rest[LONGEST_FRAME:]
        out += bytes([len(rest) + 1]) + rest
    return bytes(out)


def cobs_frames(stream: NDArray[np.uint8], ends: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Decode all frames of a stream at once: their walks from code byte to code byte advance together.

    A code byte holds the distance to the next one, and represents a zero; the last must point at the frame's end.

    Args:
        stream: Bytes that end with 0x00.
        ends: Places of all zeros in it.

    Returns:
        The stream with a zero in place of each code byte, and for each frame whether its walk met its end. The payload
        of a frame is between its first byte and its end. Frames longer than LONGEST_FRAME are refused.
    """
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts
    met = np.zeros(len(ends), bool)
    decoded = stream.copy()
    walking = np.flatnonzero((lengths > 0) & (lengths <= LONGEST_FRAME))
    places, goals = starts[walking], ends[walking]
    while len(places):
        decoded[places] = 0
        places = places + stream[places]
        there = places == goals
        met[walking[there]] = True
        on = places < goals
        if not on.all():
            walking, places, goals = walking[on], places[on], goals[on]
    return decoded, met


def arrival_times(before_s: float | None, host_s: float, count: int, nominal_s: float | None) -> NDArray[np.float64]:
    """Return times for `count` samples of a meter without a clock that arrived at the same moment.

    The newest arrived at `host_s`. The others are spread evenly since the previous sample, at most `nominal_s` apart,
    the time between samples in the data sheet, so that a pause stays a pause.

    Returns:
        Strictly increasing times; a nanosecond apart if the host's clock stood still.
    """
    span_s = max(host_s - before_s, 0.0) if before_s is not None else np.inf
    step_s = min(span_s / max(count, 1), nominal_s if nominal_s is not None else np.inf)
    step_s = max(step_s if np.isfinite(step_s) else 1e-3, 1e-9)
    times = host_s - step_s * np.arange(count - 1, -1, -1.0)
    if before_s is not None and count and times[0] <= before_s:
        times = before_s + 1e-9 * np.arange(1.0, count + 1)
    return times


@dataclass(frozen=True)
class PartialFrame:
    """State of a stream of fixed-length frames.

    Attributes:
        pending: Bytes that may begin a frame.
        discarded: Bytes discarded since the last frame.
        before_s: Time of the last sample.
    """

    pending: bytes = b""
    discarded: int = 0
    before_s: float | None = None


def find_frames(
    waiting: PartialFrame,
    data: bytes,
    *,
    length: int,
    likely: Callable[[bytes, int], int],
    good: Callable[[bytes], bool],
) -> tuple[list[bytes], int, PartialFrame]:
    """Take complete frames of a fixed length out of a stream.

    Such a frame has no end mark, so each place is tried until a frame passes its check. Bytes in front of a frame are
    discarded; every frame length of them, or part of one, counts as one damaged frame.

    Args:
        waiting: The state after the last call.
        data: The bytes received since.
        length: Length of a frame.
        likely: Returns the first place, at or after a given one, where a frame may begin; may look only at the
            `length` bytes from each place on.
        good: Tells whether a frame passes its check.

    Returns:
        The frames, the number of damaged ones, and the new state.
    """
    stream, place, discarded, damaged = waiting.pending + data, 0, waiting.discarded, 0
    frames = []
    while place + length <= len(stream):
        skip = min(likely(stream, place), len(stream) - length + 1) - place
        if not skip and not good(stream[place : place + length]):
            skip = 1
        if skip:
            damaged += -(-(discarded + skip) // length) - -(-discarded // length)
            place, discarded = place + skip, discarded + skip
        else:
            frames.append(stream[place : place + length])
            place, discarded = place + length, 0
    return frames, damaged, replace(waiting, pending=stream[place:], discarded=discarded)


def stamp_arrivals(
    waiting: PartialFrame, samples: Sequence[Sample], host_s: float, *, nominal_s: float | None, damaged: int
) -> tuple[Trace, PartialFrame]:
    """Return the samples of a meter without a clock as a trace, with times derived from their arrival."""
    if not samples:
        return Trace.empty(damaged=damaged), waiting
    times = arrival_times(waiting.before_s, host_s, len(samples), nominal_s)
    supply_v, current_a, power_w = np.array(samples, np.float64).T
    trace = Trace(times, power_w, supply_v, current_a, np.zeros(len(samples), np.uint8), 0, damaged)
    return trace, replace(waiting, before_s=float(times[-1]))
