"""The check sum of POSIX `cksum`, which every board has."""

from __future__ import annotations

import zlib


def posix_cksum(data: bytes) -> int:
    """Return what POSIX `cksum` prints: the CRC-32 of polynomial 0x04C11DB7, unreflected, the length appended."""
    length = len(data)
    tail = bytearray()
    while length:
        tail.append(length & 0xFF)
        length >>= 8
    reflected = (bytes(data) + bytes(tail)).translate(_MIRROR)
    # zlib's CRC is the reflected one, begins with and ends by inverting; undo both, and mirror bits.
    return int(f"{zlib.crc32(reflected, 0xFFFFFFFF) ^ 0xFFFFFFFF:032b}"[::-1], 2) ^ 0xFFFFFFFF


_MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
