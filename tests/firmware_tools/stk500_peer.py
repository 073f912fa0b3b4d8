"""A stand-in for the boot loader of an Arduino: STK500 version 1 on a pseudo-terminal, for the real avrdude.

No chip is here. This is a peer of avrdude's `arduino` programmer with a flash memory and a signature of its own; the
commands are those of the application note AVR061 (Atmel, "STK500 Communication Protocol"). What it proves is how we use
avrdude and understand its answers, not that an Arduino was ever flashed.
"""

from __future__ import annotations

import os
import select
import threading
import tty
from pathlib import Path
from types import TracebackType

ATMEGA328P, ATMEGA328PB, ATMEGA168 = b"\x1e\x95\x0f", b"\x1e\x95\x16", b"\x1e\x94\x06"
FLASH_BYTES = 32 * 1024
_IN_SYNC, _OK, _END = b"\x14", b"\x10", 0x20
# Command: bytes that follow it, its end mark included. PROG_PAGE says its own length.
_FOLLOWS = {0x30: 1, 0x31: 1, 0x41: 2, 0x40: 3, 0x42: 21, 0x45: 6, 0x50: 1, 0x51: 1, 0x55: 3, 0x56: 5, 0x74: 4, 0x75: 1}
_PROG_PAGE, _GET_SYNC = 0x64, 0x30


class BootloaderPeer:
    """The peer at a port; a context manager.

    Args:
        port: The name to be found at, a link to the pseudo-terminal.
        signature: Of the processor it pretends to be.
        spoils: Flash addresses whose lowest bit does not take.
        silent: It never answers.
        unplugs_after: So many pages written, and the cable is pulled.
        stutters: In these sessions (0 is the first) the answer to the device's name comes twice, and nothing fits then.
    """

    def __init__(
        self,
        port: Path,
        *,
        signature: bytes = ATMEGA328P,
        spoils: frozenset[int] = frozenset(),
        silent: bool = False,
        unplugs_after: int | None = None,
        stutters: tuple[int, ...] = (),
    ) -> None:
        self.port, self.flash = port, bytearray(b"\xff" * FLASH_BYTES)
        self.pages_written = 0
        self.sessions = 0
        self._signature, self._spoils, self._silent, self._unplugs_after = signature, spoils, silent, unplugs_after
        self._address = 0
        self._stutters, self.named = stutters, 0
        self._stop_reader, self._stop_writer = -1, -1
        self._host, self._slave = -1, -1
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> BootloaderPeer:
        self._host, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.port.symlink_to(os.ttyname(self._slave))
        self._stop_reader, self._stop_writer = os.pipe()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._stop_writer)
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._pull()
        os.close(self._stop_reader)

    def _pull(self) -> None:
        self.port.unlink(missing_ok=True)
        for number in (self._host, self._slave):
            if number >= 0:
                os.close(number)
        self._host = self._slave = -1

    def _serve(self) -> None:
        while (command := self._take(1)) is not None:
            if self._silent:
                continue
            if command[0] == _PROG_PAGE:
                self._write_page()
            elif command[0] in _FOLLOWS:
                rest = self._take(_FOLLOWS[command[0]])
                if rest is None:
                    return
                if rest[-1] == _END and not (command[0] == _GET_SYNC and self._more()):
                    self._answer(command[0], rest[:-1])
            if self._host < 0:
                return

    def _more(self) -> bool:
        """Tell whether another call for synchronisation is waiting: several are answered once, however late we are."""
        return bool(select.select([self._host], [], [], 0)[0])

    def _take(self, count: int) -> bytes | None:
        """Return so many bytes; None when it is time to end."""
        data = b""
        while len(data) < count:
            ready, _, _ = select.select([self._host, self._stop_reader], [], [])
            if self._stop_reader in ready:
                return None
            data += os.read(self._host, count - len(data))
        return data

    def _answer(self, command: int, rest: bytes) -> None:
        body = b""
        if command == 0x41:  # a parameter: version 1.16, the rest as an STK500 says
            body = {0x81: b"\x01", 0x82: b"\x10"}.get(rest[0], b"\x03")
        elif command == 0x42:
            self.named += 1
            if self.named - 1 in self._stutters:
                os.write(self._host, _IN_SYNC + _OK)
        elif command == 0x50:
            self.sessions += 1
        elif command == 0x55:
            self._address = 2 * int.from_bytes(rest, "little")
        elif command == 0x56:  # a universal command: fuses and lock bits read as zero
            body = b"\x00"
        elif command == 0x75:
            body = self._signature
        elif command == 0x74:
            count = int.from_bytes(rest[:2], "big")
            body = bytes(self.flash[self._address : self._address + count])
        os.write(self._host, _IN_SYNC + body + _OK)

    def _write_page(self) -> None:
        head = self._take(3)
        data = None if head is None else self._take(int.from_bytes(head[:2], "big") + 1)
        if data is None or data[-1] != _END:
            return
        if self._unplugs_after is not None and self.pages_written >= self._unplugs_after:
            self._pull()
            return
        self.pages_written += 1
        for at, byte in enumerate(data[:-1], self._address):
            self.flash[at] = byte & ~1 if at in self._spoils else byte
        os.write(self._host, _IN_SYNC + _OK)
