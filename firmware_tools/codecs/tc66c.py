"""Decodes the USB meters RDTech TC66 and TC66C: they answer each request, the text "getva", with 192 bytes.

These are encrypted with AES-256, block by block (ECB), with a public key that is the same in all meters. Inside are
three blocks of 64 bytes that begin with "pac1", "pac2" and "pac3" and end with a CRC-16/MODBUS of the bytes before it,
in 4 bytes. Little endian; from the start: "pac1", the product "TC66", the version (4 characters), the serial number (4
bytes), at 48 the voltage (steps of 0.1 mV), current (10 uA) and power (0.1 mW), 4 bytes each (the sigrok wiki's page
"RDTech TC66C"; libsigrok, src/hardware/rdtech-tc/protocol.c).

All three check sums must match. The time of a sample is that of its arrival at the host.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from converters.errors import MissingPartError
from firmware_tools.codecs.framing import PartialFrame, Sample, crc16_modbus, find_frames, stamp_arrivals
from firmware_tools.trace import Trace

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import CipherContext

REQUEST = b"getva"
BLUETOOTH_REQUEST = b"bgetva\r\n"
LENGTH = 192
# The sigrok wiki, "Encryption algorithm".
KEY = bytes.fromhex("5821fa5601b2f02687ff1204622a4fb086f40260816f9a0ba7f106619ab87288")
_BLOCK, _PART = 16, 64


@dataclass(frozen=True)
class Tc66cState:
    """State of the stream; `identity` is the product, version and serial number of the last answer."""

    waiting: PartialFrame = field(default_factory=PartialFrame)
    identity: str | None = None


def initial() -> Tc66cState:
    """Return the state before the first byte.

    Raises:
        MissingPartError: The package `cryptography` is not installed.
    """
    _decryptor()
    return Tc66cState()


def decode(state: Tc66cState, data: bytes, host_s: float) -> tuple[Trace, Tc66cState]:
    """Decode the complete answers, which arrived at `host_s`."""
    frames, damaged, waiting = find_frames(state.waiting, data, length=LENGTH, likely=_likely, good=_good)
    plain = [_decryptor().update(frame) for frame in frames]
    samples = [_sample(frame) for frame in plain]
    trace, waiting = stamp_arrivals(waiting, samples, host_s, nominal_s=None, damaged=damaged)
    if plain:
        state = replace(state, identity=_identity(plain[-1]))
    return trace, replace(state, waiting=waiting)


@cache
def _decryptor() -> CipherContext:
    """Return the shared decryptor: ECB has no state between blocks."""
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError as error:
        raise MissingPartError(
            "a TC66C encrypts its answers, and the package 'cryptography' is not installed",
            hint="pip install 'edge-convert[host]'",
        ) from error
    return Cipher(algorithms.AES(KEY), modes.ECB()).decryptor()


def _likely(stream: bytes, place: int) -> int:
    """Decrypt the block at each of the next places at once: a frame's first block begins with "pac1"."""
    ahead = np.frombuffer(stream[place : place + LENGTH + _BLOCK - 1], np.uint8)
    blocks = np.lib.stride_tricks.sliding_window_view(ahead, _BLOCK)
    plain = np.frombuffer(_decryptor().update(blocks.tobytes()), np.uint8).reshape(-1, _BLOCK)
    begins = np.flatnonzero((plain[:, :4] == np.frombuffer(b"pac1", np.uint8)).all(axis=1))
    return place + (int(begins[0]) if len(begins) else len(blocks))


def _good(frame: bytes) -> bool:
    plain = _decryptor().update(frame)
    parts = [plain[first : first + _PART] for first in range(0, LENGTH, _PART)]
    return all(
        part[:4] == b"pac%d" % number and crc16_modbus(part[:-4]) == int.from_bytes(part[-4:], "little")
        for number, part in enumerate(parts, 1)
    )


def _sample(plain: bytes) -> Sample:
    volts, amperes, watts = struct.unpack_from("<III", plain, 48)
    return volts * 1e-4, amperes * 1e-5, watts * 1e-4


def _identity(plain: bytes) -> str:
    product, version, serial = struct.unpack_from("<4s4sI", plain, 4)
    return f"{product.decode('ascii', 'replace')} {version.decode('ascii', 'replace')} serial {serial}"
