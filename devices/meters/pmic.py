"""Reads the rails of a Raspberry Pi 5's power chip through its firmware: an estimate, labelled as such.

`vcgencmd pmic_read_adc` lists 12 rails with current and voltage, and the voltages only of EXT5V and BATT
(ml-energy/zeus#273 and #274). The sum of voltage times current misses the power outside these rails: the chip's own
loss, and the 5 V that USB devices draw, a Coral stick among them. The board runs the readings itself, about ten a
second, which adds a little to the power measured. The time of a sample is that of its arrival at the host.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import TracebackType

from devices.contract import Device, Stream
from devices.errors import DeadlineError, DeviceError
from devices.meters.accuracy import assume_accuracy
from devices.meters.meter_contract import MeterInfo
from devices.meters.meter_settings import accuracy_setting, parse_settings, setting
from devices.meters.polled import Reading, as_trace
from devices.registry import find_device
from firmware_tools.errors import InstrumentError, LineError, ReplyError, UnknownMeterError
from firmware_tools.trace import Trace

_LINE = re.compile(r"^\s*(\w+)_([AV])\s+(?:current|volt)\(\d+\)=(-?[0-9.]+)[AV]\s*$", re.MULTILINE)
_END = b"--\n"
_LOOP = 'while vcgencmd pmic_read_adc; do echo "--"; sleep {pause}; done'
_MOST_BYTES = 1 << 16
_OPEN_S = 30.0
_MOST_RAILS_W = 100.0


@dataclass(frozen=True)
class PmicSettings:
    """Settings of the readings."""

    interval_ms: int = setting(
        "milliseconds between readings; each starts a program on the board", 100, low=20, high=10_000
    )
    accuracy: float | None = accuracy_setting()


def rails(text: str) -> Mapping[str, tuple[float, float]]:
    """Return volts and amperes of each rail that has both.

    Raises:
        ReplyError: There is none, so this is not a Raspberry Pi 5.
    """
    readings: dict[str, dict[str, float]] = {}
    for rail, unit, number in _LINE.findall(text):
        try:
            readings.setdefault(rail, {})[unit] = float(number)
        except ValueError as error:
            raise ReplyError(f"pmic_read_adc printed {number!r} for {rail}, which is not a number") from error
    both = {rail: (values["V"], values["A"]) for rail, values in readings.items() if len(values) == 2}
    if not both:
        raise ReplyError(
            "pmic_read_adc printed no rail with voltage and current", hint="only a Raspberry Pi 5 measures its rails"
        )
    return both


def supply(text: str) -> float:
    """Return the voltage at the board's 5 V input; NaN if it is not printed."""
    volts = [number for rail, unit, number in _LINE.findall(text) if (rail, unit) == ("EXT5V", "V")]
    return float(volts[0]) if volts else math.nan


class PmicMeter:
    """The rails of a device: `address` is its name, see `edge devices`."""

    Settings = PmicSettings

    def __init__(
        self, name: str, address: str, settings: Mapping[str, object], *, device: Device | None = None
    ) -> None:
        self._name, self._address = name, address
        self._settings = parse_settings(name, settings, PmicSettings)
        self._device = device
        self._info: MeterInfo | None = None
        self._stream: Stream | None = None
        self._pending = b""
        self._last_s = -math.inf

    @property
    def name(self) -> str:
        """The name the user calls it by."""
        return self._name

    def __enter__(self) -> PmicMeter:
        device = self._device or find_device(self._address)
        self._device = device
        done = device.run(("vcgencmd", "pmic_read_adc"), deadline_s=_OPEN_S)
        if done.exit.status != 0:
            reason = done.stderr.decode("utf-8", "replace").strip()[-200:]
            raise UnknownMeterError(
                f"{self._address} cannot read its rails: {reason or done.exit}",
                hint="this needs a Raspberry Pi 5 with vcgencmd, and a user in the group video",
            )
        names = rails(done.stdout.decode("utf-8", "replace"))
        accuracy = assume_accuracy("pmic", accuracy=self._settings.accuracy)
        self._info = MeterInfo(
            "pmic", self._name, f"sum of {len(names)} rails of {self._address}",
            {**asdict(self._settings), "rails": sorted(names)}, 1000 / self._settings.interval_ms,
            accuracy.gain_uncertainty, accuracy.offset_uncertainty_w, accuracy.accuracy_source,
            clock="host", has_trigger=False, is_estimate=True,
        )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def info(self) -> MeterInfo:
        """Return its description."""
        if self._info is None:
            raise InstrumentError(f"{self._name} is not open")
        return self._info

    def start(self) -> None:
        """Start the loop on the board: one connection for all readings."""
        if self._device is None:
            raise InstrumentError(f"{self._name} is not open")
        self.stop()
        loop = _LOOP.format(pause=self._settings.interval_ms / 1000)
        self._stream, self._pending = self._device.open(("sh", "-c", loop)).__enter__(), b""

    def stop(self) -> None:
        """End the loop on the board."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def read(self, deadline_s: float) -> Trace:
        """Return the readings received since the last call."""
        if self._stream is None:
            raise InstrumentError(f"{self._name} was not started")
        until = time.monotonic() + deadline_s
        while _END not in self._pending:
            try:
                data = self._stream.read(deadline_s=max(0.0, until - time.monotonic()))
            except DeadlineError:
                return Trace.empty()
            except (DeviceError, OSError) as error:
                raise LineError(f"{self._address} is gone: {error}") from error
            self._pending += data
            if not data or len(self._pending) > _MOST_BYTES:
                reason = self._stream.errors().decode("utf-8", "replace").strip()[-200:]
                raise LineError(f"{self._address} stopped reading its rails{f': {reason}' if reason else ''}")
        arrived_s = time.monotonic()
        *blocks, self._pending = self._pending.split(_END)
        newest = self._reading(blocks[-1].decode("utf-8", "replace"), max(arrived_s, self._last_s + 1e-9))
        self._last_s = newest[0]
        return as_trace([newest], lost=len(blocks) - 1)  # older ones arrived together with it: their times are unknown

    def _reading(self, text: str, at_s: float) -> Reading:
        power = sum(volts * amperes for volts, amperes in rails(text).values())
        if not -_MOST_RAILS_W < power < _MOST_RAILS_W:
            raise ReplyError(f"{self._address} reports {power:g} W on its rails, which is impossible")
        return at_s, power, supply(text), math.nan
