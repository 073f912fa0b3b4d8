"""Opens a serial line for this program alone, and transfers bytes; every wait has a deadline."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import time
from types import TracebackType
from typing import TYPE_CHECKING

from converters.errors import MissingPartError
from firmware_tools.errors import LineError

if TYPE_CHECKING:
    from serial import Serial

CHUNK_BYTES = 1 << 16
WRITE_S = 10.0
_HINTS = {
    errno.EACCES: "add yourself to the group of the port (`sudo usermod -aG dialout $USER`), then log in again",
    errno.ENOENT: "is it plugged in? `edge devices scan` lists the serial ports",
    errno.EBUSY: "that may be a terminal (screen, minicom), ModemManager, or another edge",
}


class SerialLine:
    """An open port, as a context manager.

    Args:
        port: Its device file, such as /dev/ttyUSB0.
        baud: Bits per second; 8 data bits, no parity, 1 stop bit, no flow control.

    Raises:
        LineError: It cannot be opened, or another program has it.
        MissingPartError: pyserial is not installed.
    """

    def __init__(self, port: str, *, baud: int = 115200) -> None:
        self.name, self.baud = port, baud
        self._serial: Serial | None = _open(port, baud)
        os.set_blocking(self.fileno(), False)

    def __enter__(self) -> SerialLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the number of the open file.

        Raises:
            LineError: It has been closed.
        """
        if self._serial is None:
            raise LineError(f"{self.name} has been closed")
        return int(self._serial.fileno())

    def read(self, wait_s: float = 0.0) -> bytes:
        """Return what has arrived; waits at most `wait_s` for a first byte, b"" if none came.

        Raises:
            LineError: The connection broke: the cable was pulled.
        """
        if not select.select([self.fileno()], [], [], max(0.0, wait_s))[0]:
            return b""
        try:
            data = os.read(self.fileno(), CHUNK_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self._broken(error) from error
        if not data:
            raise self._broken(None)
        return data

    def write(self, data: bytes, *, silence_s: float = WRITE_S) -> None:
        """Send all of it, however long a slow line takes.

        Raises:
            LineError: The connection broke, or the line accepted nothing for `silence_s`.
        """
        left, taken_s = memoryview(data), time.monotonic()
        while left:
            left_s = taken_s + silence_s - time.monotonic()
            if not select.select([], [self.fileno()], [], max(0.0, left_s))[1]:
                raise LineError(f"{self.name} accepts no more data", hint="is flow control on at the other end?")
            try:
                left = left[os.write(self.fileno(), left) :]
                taken_s = time.monotonic()
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._broken(error) from error

    def write_some(self, data: bytes | bytearray) -> int:
        """Send what the line accepts at once, and return the number of bytes.

        Raises:
            LineError: The connection broke.
        """
        try:
            return os.write(self.fileno(), data) if data else 0
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._broken(error) from error

    def close(self) -> None:
        """Close the port; may be repeated."""
        port, self._serial = self._serial, None
        if port is not None:
            with contextlib.suppress(OSError):
                port.close()

    def _broken(self, error: OSError | None) -> LineError:
        why = error.strerror if error else "it ended"
        return LineError(f"the line {self.name} broke: {why}", hint="is the cable plugged in at both ends?")


def _open(port: str, baud: int) -> Serial:
    try:
        import serial
    except ImportError as error:
        raise MissingPartError("serial lines need pyserial", hint="pip install 'edge-convert[host]'") from error
    try:
        return serial.Serial(port, baud, timeout=0, exclusive=True)
    except (serial.SerialException, OSError, ValueError) as error:
        number = getattr(error, "errno", None) or 0
        busy = "exclusively lock" in str(error)
        why = "another program has it" if busy else os.strerror(number) if number else str(error)
        hint = _HINTS.get(errno.EBUSY if busy else number)
        raise LineError(f"the port {port} cannot be opened: {why}", hint=hint) from error
