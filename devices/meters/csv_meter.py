"""Any sketch that prints readings as lines of comma-separated values; firmware_tools/codecs/csv_lines.py says which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from devices.meters.accuracy import assumed
from devices.meters.contract import MeterInfo
from devices.meters.settings import ACCURACY, Setting, checked
from devices.meters.streamed import StreamedMeter

SETTINGS = (
    Setting("baud", int, "speed of the port", 115_200, low=300, high=4_000_000),
    ACCURACY,
)


class CsvMeter(StreamedMeter):
    """A board that prints, at a serial port."""

    kind = "csv"

    def __init__(self, name: str, address: str, settings: Mapping[str, Any]) -> None:
        super().__init__(name, address, checked(name, settings, SETTINGS))

    def _greet(self) -> MeterInfo:
        self.use_decoder()
        accuracy = assumed("csv", accuracy=self._settings["accuracy"])
        return self.described(f"lines at {self._address}", accuracy, rate_hz=None, clock="host")

    def _begin(self) -> None:
        self.use_decoder()  # nothing is thrown away: a header may be on its way
