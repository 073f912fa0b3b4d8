"""Any sketch that prints readings as lines of comma-separated values; firmware_tools/codecs/csv_lines.py says which."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from devices.meters.accuracy import assumed
from devices.meters.contract import MeterInfo
from devices.meters.errors import MeterSilentError
from devices.meters.settings import ACCURACY, Setting, checked
from devices.meters.streamed import StreamedMeter

SETTINGS = (
    Setting("baud", int, "speed of the port", 115_200, low=300, high=4_000_000),
    Setting("columns", str, "names of the columns, for a sketch without a header", "volts,amps"),
    ACCURACY,
)
_BACKLOG_S = 0.5
_GREETING_S = 5.0  # opening the port may reset an Arduino


class CsvMeter(StreamedMeter):
    """A board that prints, at a serial port."""

    kind = "csv"

    def __init__(self, name: str, address: str, settings: Mapping[str, Any]) -> None:
        super().__init__(name, address, checked(name, settings, SETTINGS))

    def _greet(self) -> MeterInfo:
        self.use_decoder(columns=self._settings["columns"])
        accuracy = assumed("csv", accuracy=self._settings["accuracy"])
        clock = "meter" if self._first_lines_have_time() else "host"
        return self.described(f"lines at {self._address}", accuracy, rate_hz=None, clock=clock)

    def _first_lines_have_time(self) -> bool:
        """Wait for the first sample: a header decides whether the sketch has a clock."""
        assert self._decoder is not None
        until = time.monotonic() + _GREETING_S
        while self._decoder.state.timed is None:
            left = until - time.monotonic()
            if left <= 0:
                raise MeterSilentError(
                    f"{self._address} printed no reading within {_GREETING_S:g} s",
                    hint="lines are `volts,amps` at the speed --set baud=...; --set columns=... names others",
                )
            self._next(left)
        return bool(self._decoder.state.timed)

    def _begin(self) -> None:
        """Forget what came before, but decode it: a sketch prints its header once."""
        until = time.monotonic() + _BACKLOG_S
        while time.monotonic() < until and (data := self.port.read(deadline_s=0.0)):
            self.decoded(data)
