"""A serial port with deadlines, and pyserial's errors in our words."""

from __future__ import annotations

import errno
import importlib
import select
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from devices.findings import access_to
from devices.meters.errors import MeterAccessError, MeterGoneError, MeterPartError, MeterSilentError, UnknownMeterError

if TYPE_CHECKING:
    import serial

_PIECE = 1 << 16
_QUIET_S = 0.03  # so long without a byte, and what was on its way has come


class SerialPort:
    """An open port. Another program that locks ports as we do is kept out; bytes are never altered on the way."""

    def __init__(self, path: str, *, baud: int) -> None:
        self._path = path
        self._port = _opened(path, baud)

    def write(self, data: bytes, *, deadline_s: float) -> None:
        """Send all of it."""
        self._port.write_timeout = deadline_s
        try:
            self._port.write(data)
        except _serial().SerialTimeoutException as error:
            raise MeterSilentError(f"{self._path} took no bytes within {deadline_s:g} s") from error
        except OSError as error:  # SerialException is one
            raise self._gone() from error

    def read(self, *, deadline_s: float) -> bytes:
        """Return what has come, waiting for the first byte at most so long; b"" if none came."""
        try:
            if not select.select([self._port.fileno()], [], [], max(0.0, deadline_s))[0]:
                return b""
            self._port.timeout = 0
            data = bytes(self._port.read(_PIECE))
        except (OSError, TypeError, ValueError) as error:  # pyserial closes a port that breaks and trips over that
            raise self._gone() from error
        return data

    def discard(self, *, deadline_s: float = 0.5) -> None:
        """Read and forget until nothing comes for a moment."""
        until = time.monotonic() + deadline_s
        while time.monotonic() < until and self.read(deadline_s=_QUIET_S):
            pass

    def close(self) -> None:
        """Let go of the port; may be repeated."""
        self._port.close()

    def _gone(self) -> MeterGoneError:
        return MeterGoneError(f"{self._path} is gone", hint="the cable was pulled, or the meter lost its power")


def _opened(path: str, baud: int) -> serial.Serial:
    try:
        return _serial().Serial(path, baudrate=baud, timeout=0, exclusive=True)
    except ValueError as error:
        raise MeterAccessError(f"{path} cannot be opened at {baud} baud: {error}") from error
    except OSError as error:
        code = error.errno
        if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR):
            raise UnknownMeterError(f"there is no {path}", hint="`edge meter list` shows what is plugged in") from error
        if code in (errno.EAGAIN, errno.EBUSY, errno.EWOULDBLOCK) or "lock" in str(error):
            raise MeterAccessError(f"{path} is in use", hint="another program has it open: close that one") from error
        access = access_to(Path(path), shown=path)
        raise MeterAccessError(access.problem or f"{path} is no serial port: {error}", hint=access.hint) from error


def _serial() -> ModuleType:
    try:
        return importlib.import_module("serial")
    except ImportError as error:
        raise MeterPartError(
            "meters on serial ports need pyserial, which is not installed", hint="pip install 'edge-convert[host]'"
        ) from error
