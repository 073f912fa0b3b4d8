"""Decodes the USB meters FNIRSI FNB48, FNB48S, FNB58 and C1: HID reports of 64 bytes, each with four samples.

A report: 0xAA, the kind (4 is samples), four records of 15 bytes, a byte of unknown meaning, and a CRC-8 (polynomial
0x39, start 0x42) of all bytes but the first and itself. A record, little endian: voltage and current (4 bytes each,
steps of 10 uV and 10 uA), D+ and D- (2 each), a byte, the temperature (2) (baryluk/fnirsi-usb-power-data-logger,
fnirsi_logger.py). Nominally there are 100 samples a second, but reports carry no number: lost ones cannot be counted,
and the time is that of arrival at the host, with the four samples spread since the previous report. Power is the
product.

Of reports with errors in more than 8 neighbouring bits, one in 256 passes the check sum of 8 bits.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from firmware_tools.codecs.framing import PartialFrame, Sample, crc8, find_frames, stamp_arrivals
from firmware_tools.trace import Trace

LENGTH = 64
_MARK, _SAMPLES, _RECORD = 0xAA, 0x04, 15
_NOMINAL_S = 0.01


@dataclass(frozen=True)
class FnirsiState:
    """State of the stream."""

    waiting: PartialFrame = field(default_factory=PartialFrame)


def request(kind: int) -> bytes:
    """Return a report to the meter: 0x81 and 0x82 start it, 0x83 asks it to continue, at least once a second."""
    body = bytes([kind]) + bytes(LENGTH - 3)
    return bytes([_MARK]) + body + bytes([_sum(body)])


def initial() -> FnirsiState:
    """Return the state before the first byte."""
    return FnirsiState()


def decode(state: FnirsiState, data: bytes, host_s: float) -> tuple[Trace, FnirsiState]:
    """Decode the complete reports, which arrived at `host_s`; those of other kinds are skipped."""
    frames, damaged, waiting = find_frames(state.waiting, data, length=LENGTH, likely=_likely, good=_good)
    samples = [sample for frame in frames if frame[1] == _SAMPLES for sample in _records(frame)]
    trace, waiting = stamp_arrivals(waiting, samples, host_s, nominal_s=_NOMINAL_S, damaged=damaged)
    return trace, FnirsiState(waiting)


def _likely(stream: bytes, place: int) -> int:
    at = stream.find(_MARK, place)
    return at if at >= 0 else len(stream)


def _good(frame: bytes) -> bool:
    return _sum(frame[1:-1]) == frame[-1]


def _sum(body: bytes) -> int:
    return crc8(body, poly=0x39, start=0x42)


def _records(frame: bytes) -> list[Sample]:
    """Return the four samples of a report."""
    raw = [struct.unpack_from("<II", frame, 2 + _RECORD * index) for index in range(4)]
    return [(volts * 1e-5, amperes * 1e-5, volts * amperes * 1e-10) for volts, amperes in raw]
