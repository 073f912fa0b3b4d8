"""Decodes the USB meters RDTech UM24C, UM25C and UM34C: they answer each request, the byte 0xF0, with 130 bytes.

All integers are big endian. From the start of the answer: the model (2 bytes: 0x0963 UM24C,
0x09C9 UM25C, 0x0D4C UM34C), voltage (2), current (2), power in mW (4), temperature in Celsius (2); at 106 the energy in
mWh (4) counted by its recorder. Steps are 1 mV and 0.1 mA in the UM25C, 10 mV and 1 mA in the others (the sigrok
wiki's page "RDTech UM series"; libsigrok, src/hardware/rdtech-um/protocol.c; kolinger/rd-usb, interfaces/um.py).

The last byte of a UM34C's answer is the exclusive or of 32 chosen bytes. The other two have no check sum, only the
constant 0xFFF1 at their end; so for all three the power must also be about voltage times current. Smaller errors, and
those in a byte that the UM34C's sum omits, are not detected. The time is that of arrival at the host.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import xor

from firmware_tools.codecs.framing import PartialFrame, Sample, find_frames, stamp_arrivals
from firmware_tools.trace import Trace

REQUEST = b"\xf0"
LENGTH = 130
MODELS = {b"\x09\x63": "UM24C", b"\x09\xc9": "UM25C", b"\x0d\x4c": "UM34C"}
_STEPS = {"UM24C": (1e-2, 1e-3), "UM25C": (1e-3, 1e-4), "UM34C": (1e-2, 1e-3)}
# The sigrok wiki, "Checksum (UM34C)".
_SUMMED = (
    1, 3, 7, 9, 15, 17, 19, 23, 31, 39, 41, 45, 49, 53, 55, 57,
    59, 63, 67, 69, 73, 79, 83, 89, 97, 99, 109, 111, 113, 119, 121, 127,
)  # fmt: skip
# The power may be from a slightly different moment than voltage and current.
_PART, _SLACK_W = 0.05, 0.05


@dataclass(frozen=True)
class Um25cState:
    """State of the stream; `model` and `energy_wh` are those of the last answer."""

    waiting: PartialFrame = field(default_factory=PartialFrame)
    model: str | None = None
    energy_wh: float | None = None


def initial() -> Um25cState:
    """Return the state before the first byte."""
    return Um25cState()


def decode(state: Um25cState, data: bytes, host_s: float) -> tuple[Trace, Um25cState]:
    """Decode the complete answers, which arrived at `host_s`."""
    frames, damaged, waiting = find_frames(state.waiting, data, length=LENGTH, likely=_likely, good=_good)
    samples = [_sample(frame) for frame in frames]
    trace, waiting = stamp_arrivals(waiting, samples, host_s, nominal_s=None, damaged=damaged)
    if frames:
        state = Um25cState(waiting, MODELS[frames[-1][:2]], struct.unpack_from(">I", frames[-1], 106)[0] * 1e-3)
    return trace, replace(state, waiting=waiting)


def _likely(stream: bytes, place: int) -> int:
    # At most one frame ahead: a stream full of one model's number must not be searched to its end for the others.
    end = place + LENGTH
    return min((at for at in (stream.find(model, place, end) for model in MODELS) if at >= 0), default=end - 1)


def _good(frame: bytes) -> bool:
    if MODELS[frame[:2]] == "UM34C":
        whole = reduce(xor, (frame[place] for place in _SUMMED)) == frame[-1]
    else:
        whole = frame[-2:] == b"\xff\xf1"
    supply_v, current_a, power_w = _sample(frame)
    return whole and abs(power_w - supply_v * current_a) <= _PART * power_w + _SLACK_W


def _sample(frame: bytes) -> Sample:
    step_v, step_a = _STEPS[MODELS[frame[:2]]]
    volts, amperes, milliwatts = struct.unpack_from(">HHI", frame, 2)
    return volts * step_v, amperes * step_a, milliwatts * 1e-3
