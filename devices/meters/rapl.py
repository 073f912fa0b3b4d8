"""Reads the energy counters of this machine's Intel or AMD processor (RAPL): an estimate of the processor alone.

The files, from the kernel's documentation (power/powercap/powercap.rst): energy_uj counts micro-joules and wraps after
max_energy_range_uj. Since Linux 5.10 only root may read it (CVE-2020-8694). A sample is the mean power between two
polls, at the middle of the time between them.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from devices.findings import read_text
from devices.meters.accuracy import assume_accuracy
from devices.meters.meter_contract import MeterInfo
from devices.meters.meter_settings import accuracy_setting, parse_settings, setting
from devices.meters.polled import PolledMeter, Reading
from firmware_tools.errors import LineError, MeterAccessError, ReplyError, UnknownMeterError

ROOT = Path("/sys/class/powercap")


@dataclass(frozen=True)
class RaplSettings:
    """Settings of a counter."""

    interval_ms: int = setting("milliseconds between readings", 100, low=5, high=10_000)
    accuracy: float | None = accuracy_setting()


class RaplMeter(PolledMeter):
    """One zone of this machine, such as package-0 or intel-rapl:0."""

    Settings = RaplSettings

    def __init__(self, name: str, address: str, settings: Mapping[str, object], *, root: Path = ROOT) -> None:
        super().__init__(name)
        self._address, self._root = address, root
        self._settings = parse_settings(name, settings, RaplSettings)
        self._file: int | None = None
        self._range_uj = 0
        self._before: tuple[float, int] | None = None

    def start(self) -> None:
        """Read the counter for the first time."""
        super().start()
        self._before = (time.monotonic(), self._counter())

    def _open(self) -> MeterInfo:
        folder = _folder(self._address, self._root)
        file = folder / "energy_uj"
        try:
            self._file = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise MeterAccessError(
                f"{file} could not be opened: {error.strerror}",
                hint=f"since Linux 5.10 only root may read it: sudo chmod a+r {file} (until the next reboot)",
            ) from error
        self._range_uj = int(read_text(folder / "max_energy_range_uj") or 0)
        self._poll_s = self._settings.interval_ms / 1000
        self._counter()
        accuracy = assume_accuracy("rapl", accuracy=self._settings.accuracy)
        return MeterInfo(
            "rapl", self.name, f"RAPL {read_text(folder / 'name')} ({folder.name}) of this machine",
            asdict(self._settings), 1 / self._poll_s,
            accuracy.gain_uncertainty, accuracy.offset_uncertainty_w, accuracy.accuracy_source,
            clock="host", has_trigger=False, is_estimate=True,
        )  # fmt: skip

    def _ask(self) -> Reading | None:
        now_s, count = time.monotonic(), self._counter()
        assert self._before is not None
        before_s, before = self._before
        if now_s - before_s < self._poll_s / 2:  # the poll right after the start
            return None
        self._before = (now_s, count)
        spent = count - before
        if spent < 0:
            spent += self._range_uj
        if spent < 0:
            raise ReplyError(f"{self.name}: the counter went back, and its range is unknown")
        return (before_s + now_s) / 2, spent / 1e6 / (now_s - before_s), math.nan, math.nan

    def _counter(self) -> int:
        assert self._file is not None
        try:
            return int(os.pread(self._file, 64, 0))
        except OSError as error:
            raise LineError(f"{self.name} cannot be read any more: {error.strerror}") from error
        except ValueError as error:
            raise ReplyError(f"{self.name} returned no number") from error

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def zones(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """Yield folder name and zone name of each counter; the parts of a package after it."""
    for folder in sorted(root.glob("intel-rapl:*")):
        if (folder / "energy_uj").exists():
            yield folder.name, read_text(folder / "name") or folder.name


def _folder(address: str, root: Path) -> Path:
    there = dict(zones(root))
    named = [folder for folder, zone in there.items() if zone == address]
    if address in there or len(named) == 1:
        return root / (address if address in there else named[0])
    listed = ", ".join(f"{zone} ({folder})" for folder, zone in there.items())
    raise UnknownMeterError(
        f"there is no RAPL zone {address!r} in {root}" if not named else f"{len(named)} zones are called {address}",
        hint=f"there are: {listed}" if listed else "this machine, perhaps a virtual one, has no counters",
    )
