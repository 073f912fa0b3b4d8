"""Reads current sensors of Linux' hardware monitor: INA219, INA226, INA260 and relatives (drivers ina2xx and ina238).

The kernel documents the files in hwmon/ina2xx.rst, hwmon/ina238.rst and hwmon/sysfs-interface.rst: in1_input is the bus
voltage in mV, curr1_input the current in mA, power1_input the power in uW, update_interval milliseconds per
conversion with all its averages, shunt_resistor micro-ohm. A reading between two conversions repeats the last one, so
it is polled twice per conversion, and changed readings are counted.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from devices.findings import read_text
from devices.meters.accuracy import SHUNT_TOLERANCE, chip_accuracy
from devices.meters.meter_contract import MeterInfo
from devices.meters.meter_settings import parse_settings, setting
from devices.meters.polled import PolledMeter, Reading
from firmware_tools.errors import LineError, MeterAccessError, ReplyError, SettingError, UnknownMeterError

ROOT = Path("/sys/class/hwmon")
_CONVERSION_S = 0.002  # if the driver does not report it: bus and shunt of an INA226 after reset
_FASTEST_S = 0.0005
_LARGEST = 1e12  # of a number in such a file


@dataclass(frozen=True)
class HwmonSettings:
    """Settings of a sensor."""

    interval_ms: int | None = setting(
        "milliseconds per conversion, written to the sensor (needs root)", low=1, high=2253
    )
    shunt_tolerance: float = setting("limit of the shunt's relative error", SHUNT_TOLERANCE, low=0.0, high=0.2)


class HwmonMeter(PolledMeter):
    """A sensor of /sys/class/hwmon; `address` is its folder's name there, or the chip's name if only one has it."""

    Settings = HwmonSettings

    def __init__(self, name: str, address: str, settings: Mapping[str, object], *, root: Path = ROOT) -> None:
        super().__init__(name)
        self._address, self._root = address, root
        self._settings = parse_settings(name, settings, HwmonSettings)
        self._files: dict[str, int] = {}

    def _open(self) -> MeterInfo:
        folder = _folder(self._address, self._root)
        chip = read_text(folder / "name") or "unknown"
        self._set_interval(folder)
        wanted = {"power": "power1_input", "supply": "in1_input", "current": "curr1_input"}
        for what, file in wanted.items():
            if (folder / file).exists():
                self._files[what] = self._open_file(folder / file)
        if "power" not in self._files and not {"supply", "current"} <= set(self._files):
            raise ReplyError(f"{folder} has neither power nor voltage and current", hint=f"the chip is {chip}")
        interval_ms = _number(folder / "update_interval")
        shunt_uohm = _number(folder / "shunt_resistor")
        self._new_s = max(interval_ms / 1000, _FASTEST_S) if interval_ms else _CONVERSION_S
        self._poll_s = max(self._new_s / 2, _FASTEST_S)
        supply_v = self._ask()[2]
        acknowledged = {"chip": chip, "interval_ms": interval_ms, "shunt_uohm": shunt_uohm,
                        "shunt_tolerance": self._settings.shunt_tolerance}  # fmt: skip
        accuracy = chip_accuracy(
            chip, shunt_ohm=shunt_uohm / 1e6 if shunt_uohm else None, shunt_tolerance=self._settings.shunt_tolerance,
            supply_v=supply_v if supply_v > 0 else None,
        )  # fmt: skip
        return MeterInfo(
            "hwmon", self.name, f"{chip} ({folder.name})", acknowledged, 1 / self._new_s,
            accuracy.gain_uncertainty, accuracy.offset_uncertainty_w, accuracy.accuracy_source,
            clock="host", has_trigger=False, is_estimate=False,
        )  # fmt: skip

    def _set_interval(self, folder: Path) -> None:
        asked = self._settings.interval_ms
        if asked is None:
            return
        file = folder / "update_interval"
        if not file.exists():
            raise SettingError(f"{self.name} ({read_text(folder / 'name')}) has no interval that can be set")
        try:
            file.write_text(str(asked))
        except OSError as error:
            raise MeterAccessError(
                f"{file} could not be written: {error.strerror}", hint=f"echo {asked} | sudo tee {file}"
            ) from error

    def _ask(self) -> Reading:
        before_s = time.monotonic()
        values = {what: self._read(handle) for what, handle in self._files.items()}
        middle_s = (before_s + time.monotonic()) / 2
        supply, current = values.get("supply", math.nan) / 1e3, values.get("current", math.nan) / 1e3
        power = values["power"] / 1e6 if "power" in values else supply * current
        return middle_s, power, supply, current

    def _read(self, handle: int) -> float:
        try:
            text = os.pread(handle, 64, 0)
            value = float(text)
        except OSError as error:
            raise LineError(f"{self.name} is gone: {error.strerror}", hint="is the sensor still wired?") from error
        except ValueError as error:
            raise ReplyError(f"{self.name} returned {text[:32]!r}, not a number") from error
        if not abs(value) < _LARGEST:
            raise ReplyError(f"{self.name} returned {value:g}, which is impossible")
        return value

    def _open_file(self, file: Path) -> int:
        try:
            return os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise MeterAccessError(f"{file} could not be opened: {error.strerror}") from error

    def _close(self) -> None:
        for handle in self._files.values():
            os.close(handle)
        self._files = {}


def sensors(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """Yield folder name and chip name of each sensor that measures power or current."""
    for folder in sorted(root.glob("hwmon*")):
        chip = read_text(folder / "name") or ""
        if chip.startswith("ina") and any(folder.glob("power1_input")) | any(folder.glob("curr1_input")):
            yield folder.name, chip


def _folder(address: str, root: Path) -> Path:
    there = dict(sensors(root))
    named = [folder for folder, chip in there.items() if chip == address]
    if address in there or len(named) == 1:
        return root / (address if address in there else named[0])
    listed = ", ".join(f"{folder} ({chip})" for folder, chip in there.items())
    raise UnknownMeterError(
        f"there is no power sensor {address!r} in {root}" if not named else f"{len(named)} sensors are {address}",
        hint=f"there are: {listed}" if listed else "load its driver, such as with dtoverlay=i2c-sensor,ina226 on a Pi",
    )


def _number(file: Path) -> float | None:
    text = read_text(file)
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and 0 < value < _LARGEST else None
