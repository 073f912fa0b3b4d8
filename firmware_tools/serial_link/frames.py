"""Encodes and decodes frames on a serial line, and estimates how often the line damages a byte.

A damaged frame is dropped; the next zero byte starts a new one. A frame is kind u8, session u16, body, CRC-32 over
these (zlib's), all little endian, COBS-encoded (Cheshire and Baker 1999, "Consistent overhead byte stuffing") and ended
by a zero byte. This file is also sent to boards: standard library only, compatible with Python 3.7.
"""

from __future__ import annotations

import math
import struct
import zlib

MOST_FRAME_BYTES = 4096
OVERHEAD_BYTES = 13  # of a DATA frame: kind, session, offset, CRC, COBS and the zero
DATA, ACK, FIN, SYN, SYN_ACK, RESET, BYE, PING, PONG = range(1, 10)
_HEAD = struct.Struct("<BH")
_SUM = struct.Struct("<I")
LEAST_PAYLOAD, MOST_PAYLOAD = 16, 1024
_FADING = 0.99


def frame(kind: int, session: int, body: bytes = b"") -> bytes:
    """Return a frame as it is sent on the line."""
    content = _HEAD.pack(kind, session) + body
    return _stuff(content + _SUM.pack(zlib.crc32(content))) + b"\0"


class Frames:
    """Finds complete frames in received data, in pieces of any size. `damaged` counts the invalid ones."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._skips = False
        self.damaged = 0

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """Return (kind, session, body) of each frame that is now complete."""
        found = []
        *ended, rest = data.split(b"\0")
        for piece in ended:
            whole = b"" if self._skips else bytes(self._pending) + piece
            self._pending.clear()
            self._skips = False
            if whole:
                content = _content(whole)
                if content is None:
                    self.damaged += 1
                else:
                    found.append((*_HEAD.unpack_from(content), content[_HEAD.size :]))
        self._pending += rest
        if len(self._pending) > MOST_FRAME_BYTES:
            self._pending.clear()
            self._skips = True
            self.damaged += 1
        return found


def _content(stuffed: bytes) -> bytes | None:
    raw = _unstuff(stuffed)
    if raw is None or len(raw) < _HEAD.size + _SUM.size:
        return None
    content = raw[: -_SUM.size]
    return content if _SUM.unpack(raw[-_SUM.size :])[0] == zlib.crc32(content) else None


def _stuff(data: bytes) -> bytes:
    out = bytearray()
    for block in (data + b"\0").split(b"\0")[:-1]:
        while len(block) >= 254:
            out += b"\xff" + block[:254]
            block = block[254:]
        out.append(len(block) + 1)
        out += block
    return bytes(out)


def _unstuff(data: bytes) -> bytes | None:
    out, place = bytearray(), 0
    while place < len(data):
        code = data[place]
        if place + code > len(data):
            return None
        out += data[place + 1 : place + code]
        place += code
        if code < 0xFF and place < len(data):
            out.append(0)
    return bytes(out)


class LinkQuality:
    """Estimates how often the line damages a byte, and the best length of frames."""

    def __init__(self) -> None:
        self._frames, self._bytes, self._lost = 20.0, 2000.0, 1.0

    def count_frame(self, length: int, *, lost: bool) -> None:
        """Count a frame of so many bytes; recent frames weigh most."""
        self._frames = self._frames * _FADING + 1
        self._bytes = self._bytes * _FADING + length
        self._lost = self._lost * _FADING + lost

    @property
    def damage(self) -> float:
        """Probability that one byte is damaged."""
        share = min(self._lost / self._frames, 0.98)
        return max(-math.log1p(-share) * self._frames / self._bytes, 1e-6)

    @property
    def payload(self) -> int:
        """The payload n with the best throughput: it maximizes exp(-damage (n + overhead)) n / (n + overhead)."""
        best = (math.sqrt(OVERHEAD_BYTES**2 + 4 * OVERHEAD_BYTES / self.damage) - OVERHEAD_BYTES) / 2
        return int(min(max(best, LEAST_PAYLOAD), MOST_PAYLOAD))
