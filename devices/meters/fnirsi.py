"""Reads FNIRSI's USB testers FNB48, FNB48S, FNB58 and C1 through the kernel's hidraw file.

The reports are in firmware_tools/codecs/fnirsi_reports.py. The testers stop sending unless asked to continue about once
a second.
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devices.findings import access_to
from devices.meters.accuracy import assume_accuracy
from devices.meters.kinds import KINDS
from devices.meters.meter_contract import MeterInfo
from devices.meters.meter_settings import accuracy_setting, parse_settings
from devices.meters.streamed import ANSWER_S, StreamedMeter
from firmware_tools.codecs import fnirsi_reports
from firmware_tools.codecs.fnirsi_reports import LENGTH, request
from firmware_tools.codecs.framing import Decoder
from firmware_tools.errors import LineError, MeterAccessError, NoAnswerError, UnknownMeterError
from firmware_tools.trace import Trace

_KEEP_ALIVE_S = 0.9
_WRITE_S = 2.0


@dataclass(frozen=True)
class FnirsiSettings:
    """Settings of a tester."""

    accuracy: float | None = accuracy_setting()


class HidrawFile:
    """A hidraw file: reports of 64 bytes each way."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
                raise UnknownMeterError(
                    f"there is no {path}", hint="`edge meter list` shows what is plugged in"
                ) from error
            access = access_to(Path(path), shown=path)
            raise MeterAccessError(access.problem or f"{path}: {error.strerror}", hint=access.hint) from error

    def write(self, data: bytes) -> None:
        """Send one report, preceded by its number, 0."""
        if not select.select([], [self._file], [], _WRITE_S)[1]:
            raise NoAnswerError(f"{self._path} took no report within {_WRITE_S:g} s")
        try:
            os.write(self._file, b"\x00" + data)
        except OSError as error:
            raise self._gone() from error

    def read(self, *, deadline_s: float) -> bytes:
        """Return the reports that have arrived, waiting at most so long for the first."""
        if not select.select([self._file], [], [], max(0.0, deadline_s))[0]:
            return b""
        data = b""
        try:
            while len(data) < 16 * LENGTH and (report := os.read(self._file, LENGTH)):
                data += report
        except BlockingIOError:
            return data
        except OSError as error:
            raise self._gone() from error
        if not data:
            raise self._gone()
        return data

    def close(self) -> None:
        """Close the file; may be repeated."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _gone(self) -> LineError:
        return LineError(f"{self._path} is gone", hint="the tester was unplugged, or lost its power")


class Fnirsi(StreamedMeter[FnirsiSettings, fnirsi_reports.FnirsiState]):
    """A tester at a hidraw file."""

    kind = "fnirsi"
    Settings = FnirsiSettings

    def __init__(self, name: str, address: str, settings: Mapping[str, object]) -> None:
        super().__init__(name, address, parse_settings(name, settings, FnirsiSettings))
        self._alive_s = 0.0

    def _open_port(self) -> HidrawFile:
        return HidrawFile(self._address)

    def _greet(self) -> MeterInfo:
        self._wake()
        until = time.monotonic() + ANSWER_S
        while not len(self._next(0.2)):
            if time.monotonic() > until:
                raise NoAnswerError(
                    f"{self._address} did not answer as a FNIRSI tester within {ANSWER_S:g} s",
                    hint="`edge meter list` shows its USB ids; another program may be reading it",
                )
        accuracy = assume_accuracy("fnirsi", accuracy=self._settings.accuracy)
        return self.describe(model_of(self._address) or "FNIRSI tester", accuracy, rate_hz=100.0, clock="host")

    def _begin(self) -> None:
        self._wake()

    def _wake(self) -> None:
        self.discard(most_s=0.05)  # a tester that is sending never pauses
        self._decoder = Decoder(fnirsi_reports.decode, fnirsi_reports.initial())
        for code in (0x81, 0x82, 0x83):
            self.port.write(request(code))
        self._alive_s = time.monotonic()

    def _next(self, deadline_s: float) -> Trace:
        if time.monotonic() - self._alive_s > _KEEP_ALIVE_S:
            self.port.write(request(0x83))
            self._alive_s = time.monotonic()
        return super()._next(min(deadline_s, _KEEP_ALIVE_S))


def model_of(path: str, root: Path = Path("/sys/class/hidraw")) -> str | None:
    """Return the model at a hidraw file by its USB ids; None if it is not one of FNIRSI's."""
    try:
        lines = (root / Path(path).name / "device/uevent").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    ids = next((line.partition("=")[2].split(":") for line in lines if line.startswith("HID_ID=")), [])
    if len(ids) != 3:
        return None
    try:
        return KINDS["fnirsi"].usb_ids.get((int(ids[1], 16), int(ids[2], 16)))
    except ValueError:
        return None
