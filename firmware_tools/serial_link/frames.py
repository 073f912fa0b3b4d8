"""Frames on a serial line: what arrives damaged is dropped, the next zero byte starts anew.

A frame is kind u8, session u16, body, CRC-32 over these (zlib's), all little endian, COBS-encoded (Cheshire and Baker
1999, "Consistent overhead byte stuffing") and ended by a zero byte. Only the standard library, in the words of
Python 3.7: this file is also sent to boards.
"""

from __future__ import annotations

import struct
import zlib

MOST_FRAME_BYTES = 4096
OVERHEAD_BYTES = 13  # of a DATA frame: kind, session, offset, CRC, COBS and the zero
DATA, ACK, FIN, SYN, SYN_ACK, RESET, BYE, PING, PONG = range(1, 10)
_HEAD = struct.Struct("<BH")
_SUM = struct.Struct("<I")


def frame(kind: int, session: int, body: bytes = b"") -> bytes:
    """Return a frame as it goes onto the line."""
    content = _HEAD.pack(kind, session) + body
    return _stuffed(content + _SUM.pack(zlib.crc32(content))) + b"\0"


class Frames:
    """Finds whole frames in what arrives, in pieces of any size. `damaged` counts what was none."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._skips = False
        self.damaged = 0

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """Return (kind, session, body) of each frame that is now whole."""
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
    raw = _unstuffed(stuffed)
    if raw is None or len(raw) < _HEAD.size + _SUM.size:
        return None
    content = raw[: -_SUM.size]
    return content if _SUM.unpack(raw[-_SUM.size :])[0] == zlib.crc32(content) else None


def _stuffed(data: bytes) -> bytes:
    out = bytearray()
    for block in (data + b"\0").split(b"\0")[:-1]:
        while len(block) >= 254:
            out += b"\xff" + block[:254]
            block = block[254:]
        out.append(len(block) + 1)
        out += block
    return bytes(out)


def _unstuffed(data: bytes) -> bytes | None:
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
