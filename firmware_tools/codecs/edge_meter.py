"""Our own power meter, protocol version 1: its samples, its commands and its replies.

Both ways: COBS frames ended by 0x00, each a type byte (version in the high nibble, kind in the low one), a body, and
CRC-16/CCITT-FALSE of both; all integers little endian. firmware_tools/power_meter/PROTOCOL.md says the rest;
edge_commands.py holds the commands and the replies.

A sample that comes out was sent: a frame counts only where its COBS walk, its check sum, its version and its length
agree. What is missing is counted by the sequence numbers, so `lost` includes the samples of damaged frames. Conversions
that overflowed are thrown away (`damaged`), and so are samples whose time did not advance; a step of 2**31 us and
more is one back.

Scales need the chip and its shunt. They come from the meter's own reply to IDENTIFY, in the stream or as the setting
`identity`; samples that arrive before it are thrown away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware_tools.codecs.edge_commands import (
    CURRENT_PER_STEP_A,
    KIND_REPLY,
    KIND_SAMPLES,
    VERSION,
    Chip,
    Command,
    Configuration,
    Identity,
    Reply,
    Status,
    calibrated_shunt_uohm,
    volts_per_step,
)
from firmware_tools.codecs.framing import LONGEST_FRAME, cobs_frames, crc16_rows
from firmware_tools.errors import ReplyError
from firmware_tools.trace import Trace

SAMPLE = np.dtype([("time_us", "<u4"), ("bus", "<u2"), ("shunt", "<i2"), ("inputs", "u1")])
SEQUENCE = np.dtype("<u4")
MOST_SAMPLES = 16
OVERFLOW = 0x80
_HEAD, _CRC = 5, 2
_WRAP = 1 << 32


@dataclass(frozen=True)
class State:
    """Where the stream stands.

    Attributes:
        identity: Chip and shunt, once known.
        pending: Bytes of a frame whose end has not come.
        overlong: The frame that is coming was too long; what is left of it is skipped.
        expected: Sequence number of the next sample; None before the first.
        clock_us: The latest time of a sample, wraps taken out.
        replies: Replies that the last call completed.
    """

    identity: Identity | None = None
    pending: bytes = b""
    overlong: bool = False
    expected: int | None = None
    clock_us: int | None = None
    replies: tuple[Reply, ...] = ()


@dataclass(frozen=True)
class _Frames:
    """Intact frames of known kinds in the order of the stream: each the place, in `stream`, of its type byte."""

    stream: NDArray[np.uint8]
    places: NDArray[np.int64]
    lengths: NDArray[np.int64]
    damaged: int

    def between(self, first: int, last: int) -> _Frames:
        return replace(self, places=self.places[first:last], lengths=self.lengths[first:last], damaged=0)

    def kinds(self) -> NDArray[np.uint8]:
        return self.stream[self.places] & np.uint8(0x0F)

    def body(self, index: int) -> bytes:
        place = int(self.places[index])
        return self.stream[place + 1 : place + int(self.lengths[index]) - _CRC].tobytes()


def initial(*, identity: Identity | None = None) -> State:
    """Return the state before the first byte."""
    return State(identity)


def decode(state: State, data: bytes, host_s: float) -> tuple[Trace, State]:
    """Decode what is complete; `host_s` is not used, the meter has a clock."""
    stream, state, damaged = _complete(state, data)
    state = replace(state, replies=())
    if not len(stream):
        return Trace.empty(damaged=damaged), state
    frames = _intact(stream)
    traces = [Trace.empty(damaged=damaged + frames.damaged)]
    first = 0
    for index in np.flatnonzero(frames.kinds() == KIND_REPLY).tolist():
        trace, state = _samples(state, frames.between(first, index))
        traces.append(trace)
        state = _heard(state, frames.body(index))
        first = index + 1
    trace, state = _samples(state, frames.between(first, len(frames.places)))
    return Trace.joined([*traces, trace]), state


def _complete(state: State, data: bytes) -> tuple[NDArray[np.uint8], State, int]:
    """Return the bytes up to the last end of a frame, and the state that keeps the rest."""
    damaged = 0
    if state.overlong:
        _, end, data = data.partition(b"\x00")
        if not end:
            return np.empty(0, np.uint8), state, 0
        damaged = 1
    whole, end, rest = (state.pending + data).rpartition(b"\x00")
    overlong = len(rest) > LONGEST_FRAME
    state = replace(state, pending=b"" if overlong else rest, overlong=overlong)
    return np.frombuffer(whole + end, np.uint8), state, damaged


def _intact(stream: NDArray[np.uint8]) -> _Frames:
    """Find the frames that are what they claim; two ends in a row are no frame."""
    ends = np.flatnonzero(stream == 0)
    decoded, walked = cobs_frames(stream, ends)
    places = np.concatenate(([0], ends[:-1] + 1)) + 1
    lengths = ends - places
    good = walked & (lengths >= 1 + _CRC)
    for length in np.unique(lengths[good]).tolist():
        chosen = np.flatnonzero(good & (lengths == length))
        rows = decoded[places[chosen, np.newaxis] + np.arange(length)]
        sums = rows[:, -2] | rows[:, -1].astype(np.uint16) << 8
        good[chosen] = (crc16_rows(rows[:, :-_CRC]) == sums) & _shaped(rows[:, 0], length)
    there = lengths >= 0
    return _Frames(decoded, places[good], lengths[good], int(np.count_nonzero(there & ~good)))


def _shaped(types: NDArray[np.uint8], length: int) -> NDArray[np.bool_]:
    """Tell which frames of this length can be of the type they claim."""
    samples, rest = divmod(length - _HEAD - _CRC, SAMPLE.itemsize)
    is_samples = types == (VERSION << 4 | KIND_SAMPLES)
    is_reply = types == (VERSION << 4 | KIND_REPLY)
    shaped = np.zeros(len(types), bool)
    if rest == 0 and 1 <= samples <= MOST_SAMPLES:
        shaped |= is_samples
    if length >= 1 + Reply.SHORTEST + _CRC:
        shaped |= is_reply
    return shaped


def _heard(state: State, body: bytes) -> State:
    """Take from a reply what later samples depend on; a reply of the wrong length changes nothing."""
    reply = Reply.parsed(body)
    state = replace(state, replies=(*state.replies, reply))
    if reply.status != Status.OK:
        return state
    try:
        return _learnt(state, reply)
    except ReplyError:
        return state


def _learnt(state: State, reply: Reply) -> State:
    if reply.command == Command.START:
        return replace(state, expected=0)
    if reply.command == Command.IDENTIFY:
        return replace(state, identity=Identity.parsed(reply))
    if state.identity and reply.command == Command.CALIBRATE:
        shunt_uohm = calibrated_shunt_uohm(reply)
        return replace(state, identity=replace(state.identity, shunt_uohm=shunt_uohm, calibrated=True))
    if state.identity and reply.command == Command.CONFIGURE:
        return replace(state, identity=replace(state.identity, configuration=Configuration.parsed(reply)))
    return state


def _samples(state: State, frames: _Frames) -> tuple[Trace, State]:
    """Decode frames of samples that follow each other, with nothing else between."""
    if not len(frames.places):
        return Trace.empty(), state
    identity = state.identity
    if identity is None:
        return Trace.empty(damaged=len(frames.places)), state
    counts = (frames.lengths - _HEAD - _CRC) // SAMPLE.itemsize
    lost, expected = _sequence(state.expected, _fields(frames.stream, frames.places + 1, SEQUENCE), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    records = _fields(frames.stream, np.repeat(frames.places + _HEAD, counts) + within * SAMPLE.itemsize, SAMPLE)
    clock_us, advanced = _unwrapped(state.clock_us, records["time_us"])
    good = advanced & (records["inputs"] & OVERFLOW == 0)
    damaged = len(good) - int(np.count_nonzero(good))
    # Never back: what a meter sends whose clock began anew has no place behind what has come out already.
    state = replace(state, expected=expected, clock_us=max(int(clock_us.max()), state.clock_us or 0))
    if damaged:
        records, clock_us = records[good], clock_us[good]
    supply_v, current_a = _scaled(records, identity)
    time_s = clock_us.astype(np.float64) * 1e-6
    trace = Trace(time_s, supply_v * current_a, supply_v, current_a, records["inputs"].copy(), lost, damaged)
    return trace, state


def _fields(stream: NDArray[np.uint8], places: NDArray[np.int64], kind: np.dtype[Any]) -> NDArray[Any]:
    """Read a value of that type at each place."""
    rows: NDArray[Any] = stream[places[:, np.newaxis] + np.arange(kind.itemsize)].view(kind)
    return rows[:, 0]


def _sequence(expected: int | None, firsts: NDArray[np.uint32], counts: NDArray[np.int64]) -> tuple[int, int]:
    """Return how many samples are missing before and between frames, and the next sequence number.

    A number that goes back starts a new run whose START reply was damaged; the run's samples before it are missing.
    """
    numbers = firsts.astype(np.int64)
    before = np.concatenate(([numbers[0] if expected is None else expected], (numbers + counts)[:-1]))
    gaps = (numbers - before) % _WRAP
    lost = np.where(gaps < _WRAP // 2, gaps, numbers).sum()
    return int(lost), int(numbers[-1] + counts[-1]) % _WRAP


def _unwrapped(clock_us: int | None, times_us: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the times without wraps, and which of them are later than all before."""
    start = int(times_us[0]) if clock_us is None else clock_us
    # The difference of 32-bit times is right across a wrap; with a sign, it also tells a step back.
    steps = np.diff(times_us, prepend=np.uint32(start % _WRAP)).view(np.int32).astype(np.int64)
    times = start + np.cumsum(steps)
    advanced = times > np.maximum.accumulate(np.concatenate(([start], times[:-1])))
    advanced[0] |= clock_us is None
    return times, advanced


def _scaled(records: NDArray[Any], identity: Identity) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    bus_v, shunt_v = volts_per_step(identity.chip)
    step_a = CURRENT_PER_STEP_A if identity.chip == Chip.INA260 else shunt_v / (identity.shunt_uohm * 1e-6)
    return records["bus"] * bus_v, records["shunt"] * step_a
