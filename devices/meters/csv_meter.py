"""Reads any board that prints readings as lines of comma-separated values; see firmware_tools/codecs/csv_lines.py."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from devices.meters.accuracy import assume_accuracy
from devices.meters.meter_contract import MeterInfo
from devices.meters.meter_settings import accuracy_setting, parse_settings, setting
from devices.meters.streamed import StreamedMeter
from firmware_tools.codecs import csv_lines
from firmware_tools.codecs.framing import Decoder
from firmware_tools.errors import NoAnswerError

_BACKLOG_S = 0.5
_GREETING_S = 5.0  # opening the port may reset an Arduino


@dataclass(frozen=True)
class CsvSettings:
    """Settings of the port and of lines without a header."""

    baud: int = setting("speed of the port", 115_200, low=300, high=4_000_000)
    columns: str = setting("names of the columns, for a sketch without a header", "volts,amps")
    accuracy: float | None = accuracy_setting()


class CsvMeter(StreamedMeter[CsvSettings, csv_lines.CsvState]):
    """A board that prints readings to a serial port."""

    kind = "csv"
    Settings = CsvSettings

    def __init__(self, name: str, address: str, settings: Mapping[str, object]) -> None:
        super().__init__(name, address, parse_settings(name, settings, CsvSettings))
        self.baud = self._settings.baud

    def _greet(self) -> MeterInfo:
        self._decoder = Decoder(csv_lines.decode, csv_lines.initial(columns=self._settings.columns))
        accuracy = assume_accuracy("csv", accuracy=self._settings.accuracy)
        clock = "meter" if self._lines_have_time() else "host"
        return self.describe(f"lines at {self._address}", accuracy, rate_hz=None, clock=clock)

    def _lines_have_time(self) -> bool:
        """Wait for the first sample: a header decides whether the sketch has a clock."""
        until = time.monotonic() + _GREETING_S
        while self.decoder.state.timed is None:
            left = until - time.monotonic()
            if left <= 0:
                raise NoAnswerError(
                    f"{self._address} printed no reading within {_GREETING_S:g} s",
                    hint="lines are `volts,amps` at the speed --set baud=...; --set columns=... names others",
                )
            self._next(left)
        return self.decoder.state.timed

    def _begin(self) -> None:
        """Discard what came before, but decode it: a sketch prints its header once."""
        until = time.monotonic() + _BACKLOG_S
        while time.monotonic() < until and (data := self.port.read(deadline_s=0.0)):
            self.decode(data)
