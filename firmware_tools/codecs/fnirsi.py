"""The USB meters FNIRSI FNB48, FNB48S, FNB58 and C1: HID reports of 64 bytes, each with four samples.

A report: 0xAA, the kind (4 is samples), four records of 15 bytes, a byte of unknown meaning, and a CRC-8 (polynomial
0x39, start 0x42) of all but the first and itself. A record, little endian: voltage and current (4 bytes each, steps of
10 uV and 10 uA), D+ and D- (2 each), a byte, the temperature (2) (baryluk/fnirsi-usb-power-data-logger,
fnirsi_logger.py). Nominally there are 100 samples a second, but reports carry no number: what is lost cannot be
counted, and time is the arrival at the host, the four samples spread since the report before. Power is the product.

A sample that comes out was sent, as far as 8 bits of check sum can tell: of reports that are wrong in more than 8
neighbouring bits, one in 256 passes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from firmware_tools.codecs.answers import Sample, Waiting, arrived, found
from firmware_tools.codecs.framing import crc8
from firmware_tools.trace import Trace

LENGTH = 64
# Vendor and product number: model.
USB_IDS = {
    (0x0483, 0x003A): "FNB48",
    (0x0483, 0x003B): "C1",
    (0x2E3C, 0x5558): "FNB58",
    (0x2E3C, 0x0049): "FNB48S",
}
_MARK, _SAMPLES, _RECORD = 0xAA, 0x04, 15
_NOMINAL_S = 0.01


@dataclass(frozen=True)
class State:
    """Where the stream stands."""

    waiting: Waiting = field(default_factory=Waiting)


def request(kind: int) -> bytes:
    """Return a report to the meter: 0x81 and 0x82 begin, 0x83 asks it to go on, at least once a second."""
    body = bytes([kind]) + bytes(LENGTH - 3)
    return bytes([_MARK]) + body + bytes([_sum(body)])


def initial() -> State:
    """Return the state before the first byte."""
    return State()


def decode(state: State, data: bytes, host_s: float) -> tuple[Trace, State]:
    """Decode the reports that are complete, which came at `host_s`; those of other kinds are skipped."""
    frames, damaged, waiting = found(state.waiting, data, length=LENGTH, likely=_likely, good=_good)
    samples = [sample for frame in frames if frame[1] == _SAMPLES for sample in _records(frame)]
    trace, waiting = arrived(waiting, samples, host_s, nominal_s=_NOMINAL_S, damaged=damaged)
    return trace, State(waiting)


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
