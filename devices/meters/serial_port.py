"""A serial port as meters use one: firmware_tools' line, with errors in our words."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from converters.errors import MissingPartError
from devices.findings import access_to
from devices.meters.error_translation import translated
from devices.meters.errors import MeterAccessError, UnknownMeterError
from firmware_tools.errors import LineError
from firmware_tools.line import Line

T = TypeVar("T")
_QUIET_S = 0.03  # so long without a byte, and what was on its way has come


class SerialPort:
    """An open port. Another program that locks ports as we do is kept out; bytes are never altered on the way."""

    def __init__(self, path: str, *, baud: int) -> None:
        self._line = opened(path, lambda: Line(path, baud=baud))

    def write(self, data: bytes) -> None:
        """Send all of it; the line's own deadline counts."""
        translated(lambda: self._line.write(data))

    def read(self, *, deadline_s: float) -> bytes:
        """Return what has come, waiting for the first byte at most so long; b"" if none came."""
        return translated(lambda: self._line.read(deadline_s))

    def close(self) -> None:
        """Let go of the port; may be repeated."""
        self._line.close()


def discard(read: Callable[[float], bytes], *, most_s: float = 0.5) -> None:
    """Read and forget until nothing comes for a moment; at most so long, as some meters never pause."""
    until = time.monotonic() + most_s
    while time.monotonic() < until and read(_QUIET_S):
        pass


def opened(path: str, open_it: Callable[[], T]) -> T:
    """Open something at a serial port.

    Raises:
        UnknownMeterError: There is no such port.
        MissingPartError: pyserial is not installed.
        MeterAccessError: This user may not open it, another program has it, or it is no serial port.
    """
    if not Path(path).exists():
        raise UnknownMeterError(f"there is no {path}", hint="`edge meter list` shows what is plugged in")
    try:
        return open_it()
    except MissingPartError as error:
        raise MissingPartError(str(error), hint=error.hint) from error
    except LineError as error:
        access = access_to(Path(path), shown=path)
        raise MeterAccessError(access.problem or str(error), hint=access.hint or error.hint) from error
