"""Decodes the frames of our own power meter, protocol version 1: samples and replies.

In both directions: COBS frames ended by 0x00, each a type byte (version in the high nibble, kind in the low one), a
body, and CRC-16/CCITT-FALSE of both; all integers little endian. See firmware_tools/power_meter/PROTOCOL.md;
edge_commands.py has the commands and replies.

Every decoded sample was sent: a frame is accepted only if its COBS walk, check sum, version and length agree. Missing
samples are counted by sequence number, so `lost` includes the samples of damaged frames. Conversions that overflowed
are discarded (`damaged`), and so are samples whose time did not advance; a step of 2**31 us or more is one backwards.

The scale depends on the chip and its shunt, which the meter's reply to IDENTIFY states, in the stream or as the setting
`identity`; samples that arrive before it are discarded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware_tools.codecs.edge_commands import (
    KIND_REPLY,
    KIND_SAMPLES,
    VERSION,
    Command,
    Configuration,
    Identity,
    Reply,
    ReplyStatus,
    parse_calibration,
)
from firmware_tools.codecs.framing import LONGEST_FRAME, cobs_frames, crc16_rows
from firmware_tools.errors import ReplyError
from firmware_tools.power_meter.chips import INA_FACTS
from firmware_tools.trace import Trace

SAMPLE = np.dtype([("time_us", "<u4"), ("bus", "<u2"), ("shunt", "<i2"), ("inputs", "u1")])
SEQUENCE = np.dtype("<u4")
MOST_SAMPLES = 16
OVERFLOW = 0x80
_HEAD, _CRC = 5, 2
_WRAP = 1 << 32


@dataclass(frozen=True)
class EdgeState:
    """State of the stream.

    Attributes:
        identity: InaChip and shunt, once known.
        pending: Bytes of a frame whose end has not arrived.
        overlong: The incoming frame is too long; the rest of it is skipped.
        expected: Sequence number of the next sample; None before the first.
        clock_us: The latest time of a sample, without wraps.
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


def initial(*, identity: Identity | None = None) -> EdgeState:
    """Return the state before the first byte."""
    return EdgeState(identity)


def decode(state: EdgeState, data: bytes, host_s: float) -> tuple[Trace, EdgeState]:
    """Decode the complete frames; `host_s` is not used, as the meter has a clock."""
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
        state = _take_reply(state, frames.body(index))
        first = index + 1
    trace, state = _samples(state, frames.between(first, len(frames.places)))
    return Trace.concatenate([*traces, trace]), state


def _complete(state: EdgeState, data: bytes) -> tuple[NDArray[np.uint8], EdgeState, int]:
    """Return the bytes up to the last end of a frame, and the state with the rest."""
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
    """Find the intact frames; two ends in a row are not a frame."""
    ends = np.flatnonzero(stream == 0)
    decoded, walked = cobs_frames(stream, ends)
    places = np.concatenate(([0], ends[:-1] + 1)) + 1
    lengths = ends - places
    good = walked & (lengths >= 1 + _CRC)
    for length in np.unique(lengths[good]).tolist():
        chosen = np.flatnonzero(good & (lengths == length))
        rows = decoded[places[chosen, np.newaxis] + np.arange(length)]
        sums = rows[:, -2] | rows[:, -1].astype(np.uint16) << 8
        good[chosen] = (crc16_rows(rows[:, :-_CRC]) == sums) & _match_type(rows[:, 0], length)
    there = lengths >= 0
    return _Frames(decoded, places[good], lengths[good], int(np.count_nonzero(there & ~good)))


def _match_type(types: NDArray[np.uint8], length: int) -> NDArray[np.bool_]:
    """Return which frames of this length match the type they state."""
    samples, rest = divmod(length - _HEAD - _CRC, SAMPLE.itemsize)
    is_samples = types == (VERSION << 4 | KIND_SAMPLES)
    is_reply = types == (VERSION << 4 | KIND_REPLY)
    shaped = np.zeros(len(types), bool)
    if rest == 0 and 1 <= samples <= MOST_SAMPLES:
        shaped |= is_samples
    if length >= 1 + Reply.SHORTEST + _CRC:
        shaped |= is_reply
    return shaped


def _take_reply(state: EdgeState, body: bytes) -> EdgeState:
    """Apply what a reply changes for later samples; a reply of the wrong length changes nothing."""
    reply = Reply.parse(body)
    state = replace(state, replies=(*state.replies, reply))
    if reply.status != ReplyStatus.OK:
        return state
    try:
        return _apply_reply(state, reply)
    except ReplyError:
        return state


def _apply_reply(state: EdgeState, reply: Reply) -> EdgeState:
    if reply.command == Command.START:
        return replace(state, expected=0)
    if reply.command == Command.IDENTIFY:
        return replace(state, identity=Identity.parse(reply))
    if state.identity and reply.command == Command.CALIBRATE:
        shunt_uohm = parse_calibration(reply)
        return replace(state, identity=replace(state.identity, shunt_uohm=shunt_uohm, calibrated=True))
    if state.identity and reply.command == Command.CONFIGURE:
        return replace(state, identity=replace(state.identity, configuration=Configuration.parse(reply)))
    return state


def _samples(state: EdgeState, frames: _Frames) -> tuple[Trace, EdgeState]:
    """Decode consecutive frames of samples, with nothing else in between."""
    if not len(frames.places):
        return Trace.empty(), state
    identity = state.identity
    if identity is None:
        return Trace.empty(damaged=len(frames.places)), state
    counts = (frames.lengths - _HEAD - _CRC) // SAMPLE.itemsize
    lost, expected = _sequence(state.expected, _fields(frames.stream, frames.places + 1, SEQUENCE), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    records = _fields(frames.stream, np.repeat(frames.places + _HEAD, counts) + within * SAMPLE.itemsize, SAMPLE)
    clock_us, advanced = _unwrap(state.clock_us, records["time_us"])
    good = advanced & (records["inputs"] & OVERFLOW == 0)
    damaged = len(good) - int(np.count_nonzero(good))
    # Never backwards: samples of a restarted clock cannot follow those already decoded.
    state = replace(state, expected=expected, clock_us=max(int(clock_us.max()), state.clock_us or 0))
    if damaged:
        records, clock_us = records[good], clock_us[good]
    supply_v, current_a = _scale(records, identity)
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


def _unwrap(clock_us: int | None, times_us: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the times without wraps, and which of them are later than all before."""
    start = int(times_us[0]) if clock_us is None else clock_us
    # The difference of 32-bit times is right across a wrap; its sign shows a step backwards.
    steps = np.diff(times_us, prepend=np.uint32(start % _WRAP)).view(np.int32).astype(np.int64)
    times = start + np.cumsum(steps)
    advanced = times > np.maximum.accumulate(np.concatenate(([start], times[:-1])))
    advanced[0] |= clock_us is None
    return times, advanced


def _scale(records: NDArray[Any], identity: Identity) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    facts = INA_FACTS[identity.chip]
    step_a = facts.current_step_a
    if step_a is None:
        assert facts.shunt_step_v is not None
        step_a = facts.shunt_step_v / (identity.shunt_uohm * 1e-6)
    return records["bus"] * facts.bus_step_v, records["shunt"] * step_a
