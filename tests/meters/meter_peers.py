"""Simulated meters at pseudo-terminals, written from the facts of each protocol.

They prove that both ends agree on the facts as written down, not that a real meter does.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import struct
import threading
import time
import tty

import numpy as np

from firmware_tools.codecs.framing import crc8, crc16_modbus
from firmware_tools.codecs.tc66c import KEY

CHUNK_S = 0.01


class Peer:
    """The far end of a serial port; a context manager. `heard` is all that came, `port` the near end's path."""

    def __init__(self):
        self.heard = b""
        self._ours, theirs = pty.openpty()
        tty.setraw(self._ours)
        tty.setraw(theirs)
        os.set_blocking(self._ours, False)
        self.port = os.ttyname(theirs)
        self._theirs = theirs
        self._wake, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        os.close(self._stop)
        self._thread.join(5)
        os.close(self._wake)
        self.unplug()

    def unplug(self):
        """Pull the cable."""
        for end in (self._ours, self._theirs):
            with contextlib.suppress(OSError):
                os.close(end)
        self._ours = self._theirs = -1

    def send(self, data):
        """Send all, unless the other end speaks instead of reading, or this one ends."""
        while data:
            try:
                spoken, taking, _ = select.select([self._ours, self._wake], [self._ours], [], 0.05)
                if self._wake in spoken or (spoken and not taking):
                    return
                data = data[os.write(self._ours, data) :] if taking else data
            except BlockingIOError:
                continue
            except (OSError, ValueError):  # unplugged
                return

    def answer(self, data):
        """What the meter does with bytes that came."""

    def tick(self):
        """What the meter sends of itself, every CHUNK_S."""

    @staticmethod
    def pause():
        """Give the other thread some time."""
        time.sleep(0.01)

    def _run(self):
        while self._ours >= 0:
            ours = self._ours
            try:
                ready = select.select([ours, self._wake], [], [], CHUNK_S)[0]
                if self._wake in ready:
                    return
                data = os.read(ours, 4096) if ours in ready else b""
            except (OSError, ValueError):
                return
            if data:
                self.heard += data
                self.answer(data)
            self.tick()


PPK2_METADATA = "Calibrated: 0\n" + "".join(
    f"{key}{index}: {value}\n"
    for key, values in {
        "R": (1000, 100, 10, 1, 0.05), "GS": (0,) * 5, "GI": (1,) * 5, "O": (0,) * 5, "S": (0,) * 5, "I": (0,) * 5,
        "UG": (1,) * 5,
    }.items()
    for index, value in enumerate(values)
)  # fmt: skip
PPK2_STEPS = 1000
PPK2_AMPS = 4 * PPK2_STEPS * 1.8 / 163840 / 0.05  # range 4, with the constants above


class Ppk2Peer(Peer):
    """A PPK2 that measures PPK2_AMPS at 100,000 words a second; D0 is high in odd milliseconds."""

    def __init__(self, metadata=PPK2_METADATA, skip_at=None, silent=False):
        super().__init__()
        self.metadata, self.skip_at, self.silent = metadata, skip_at, silent
        self.millivolts, self.mode, self.powered = 0, 0, None
        self._streaming, self._sent, self._begin, self._skipped = False, 0, 0.0, 0

    def answer(self, data):
        while data and not self.silent:
            length = {0x0D: 3, 0x11: 2, 0x0C: 2}.get(data[0], 1)
            self._obey(data[:length])
            data = data[length:]

    def _obey(self, command):
        if command[0] == 0x19:
            told = f"{self.metadata}VDD: {self.millivolts}\nHW: 9173\nmode: {self.mode}\nIA: 56\nEND"
            middle = len(told) // 2
            self.send(told[:middle].encode())
            self.send(told[middle:].encode())
        elif command[0] == 0x0D:
            self.millivolts = int.from_bytes(command[1:3], "big")
        elif command[0] == 0x11:
            self.mode = command[1]
        elif command[0] == 0x0C:
            self.powered = bool(command[1])
        elif command[0] in (0x06, 0x07):
            self._streaming, self._sent, self._begin = command[0] == 0x06, 0, time.monotonic()

    def tick(self):
        if not self._streaming:
            return
        count = min(int((time.monotonic() - self._begin) * 100_000) - self._sent, 1000)
        numbers = np.arange(self._sent, self._sent + count)
        if self.skip_at is not None and self._sent >= self.skip_at:
            self._skipped, self.skip_at = 5, None
        counters = (numbers + self._skipped) & 0x3F
        words = PPK2_STEPS | 4 << 14 | counters << 18 | ((numbers // 100) & 1) << 24
        self._sent += count
        self.send(words.astype("<u4").tobytes())


class Um25cPeer(Peer):
    """A UM25C: 130 bytes for each 0xF0; the current goes up by 10 mA with each second answer."""

    answers = 0

    def answer(self, data):
        for _ in range(data.count(0xF0)):
            self.answers += 1
            millivolts, tenths_ma = 5100, 5000 + 100 * (self.answers // 2)
            frame = bytearray(130)
            struct.pack_into(">HHHI", frame, 0, 0x09C9, millivolts, tenths_ma, millivolts * tenths_ma // 10_000)
            frame[-2:] = b"\xff\xf1"
            self.send(bytes(frame[:50]))
            self.send(bytes(frame[50:]))


class Tc66cPeer(Peer):
    """A TC66C: 192 encrypted bytes for each "getva"."""

    def answer(self, data):
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        if b"getva" not in data:
            return
        first = bytearray(b"pac1TC661.14" + bytes(52))
        struct.pack_into("<I", first, 12, 4711)
        struct.pack_into("<III", first, 48, 51_000, 50_000, 25_500)
        parts = [bytes(first), b"pac2" + bytes(60), b"pac3" + bytes(60)]
        plain = b"".join(part[:60] + crc16_modbus(part[:60]).to_bytes(4, "little") for part in parts)
        self.send(Cipher(algorithms.AES(KEY), modes.ECB()).encryptor().update(plain))


class FnirsiPeer(Peer):
    """A FNIRSI tester: reports of four records each 40 ms once woken, for a second after each request."""

    def __init__(self):
        super().__init__()
        self._until, self._due, self.reports = 0.0, 0.0, 0

    def answer(self, data):
        if b"\xaa\x81" in data:
            self._due = time.monotonic()
        if b"\xaa\x83" in data:
            self._until = time.monotonic() + 1.5

    def tick(self):
        now = time.monotonic()
        if not self._due or now < self._due or now > self._until:
            return
        self._due += 0.04
        self.reports += 1
        record = struct.pack("<II", 512_000, 40_000) + bytes(7)
        body = bytes([0x04]) + 4 * record + b"\x00"
        self.send(b"\xaa" + body + bytes([crc8(body, poly=0x39, start=0x42)]))


class CsvPeer(Peer):
    """A sketch that prints `time_ms,millivolts,milliamps`, with its header again and again."""

    def __init__(self, header="time_ms,millivolts,milliamps", is_timed=True):
        super().__init__()
        self._begin, self._lines, self._header, self._is_timed = time.monotonic(), 0, header, is_timed

    def tick(self):
        if self._lines % 20 == 0:
            self.send(f"hello\n{self._header}\n".encode())
        self._lines += 1
        milliseconds = round((time.monotonic() - self._begin) * 1000)
        stamp = f"{milliseconds}," if self._is_timed else ""
        self.send(f"{stamp}5000,{400 + self._lines % 2}\n".encode())
