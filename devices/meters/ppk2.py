"""Reads Nordic's Power Profiler Kit II; see firmware_tools/codecs/ppk2_stream.py and ppk2_calibration.py.

As an ampere meter (the default) it drives nothing and measures no voltage: power is the current times `supply_mv`,
which is assumed to be 5 V unless given. As a source it drives its output, so the voltage must be given. Closing the
port cuts the board's supply (ppk2lab, README), so the port stays open from entering to leaving, whatever is started
and stopped in between.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from devices.meters.accuracy import MeterAccuracy, assume_accuracy
from devices.meters.meter_contract import MeterInfo
from devices.meters.meter_settings import accuracy_setting, parse_settings, setting
from devices.meters.streamed import ANSWER_S, StreamedMeter
from firmware_tools.codecs import ppk2_calibration as kit
from firmware_tools.codecs import ppk2_stream
from firmware_tools.codecs.framing import Decoder
from firmware_tools.errors import NoAnswerError, SettingError

_ASSUMED_MV, _ASSUMED_WITHIN = 5000, 0.05  # the USB specification's range at a port: 4.75 to 5.25 V
_GIVEN_WITHIN = 0.01
_MOST_METADATA = 1 << 14
_REPORTED = re.compile(r"^(Calibrated|HW|mode|VDD|IA): *(\S+) *$", re.MULTILINE)


@dataclass(frozen=True)
class Ppk2Settings:
    """Settings of the kit."""

    mode: str = setting(
        "ampere: the board has a supply of its own; source: the kit supplies it", "ampere", choices=("ampere", "source")
    )
    supply_mv: int | None = setting(
        "voltage of the supply; with mode=source the kit's output", low=800, high=5000,
        advice="; the kit cannot take more: lower the supply to 5.0 V, measured after the kit, and give 5000",
    )  # fmt: skip
    accuracy: float | None = accuracy_setting()


class Ppk2(StreamedMeter[Ppk2Settings, ppk2_stream.Ppk2State]):
    """A PPK2 at a serial port."""

    kind = "ppk2"
    Settings = Ppk2Settings

    def __init__(self, name: str, address: str, settings: Mapping[str, object]) -> None:
        chosen = parse_settings(name, settings, Ppk2Settings)
        if chosen.mode == "source" and chosen.supply_mv is None:
            raise SettingError(
                f"{name}: mode=source needs supply_mv, the voltage that the board needs",
                hint="800 to 5000 mV; a wrong one can destroy the board",
            )
        super().__init__(name, address, chosen, pace_s=0.005)
        self._calibration: kit.Ppk2Calibration | None = None

    def _greet(self) -> MeterInfo:
        is_source, given_mv = self._settings.mode == "source", self._settings.supply_mv
        self._send(kit.STOP)  # it may have been left measuring
        self.discard()
        self._calibration = kit.parse_metadata(self._metadata())  # a kit with a broken calibration is never switched on
        if is_source and given_mv is not None:
            self._send(kit.supply_command(given_mv / 1000))
        self._send(kit.SOURCE if is_source else kit.MEASURE_ONLY)
        self._send(kit.POWER_ON)
        reported = dict(_REPORTED.findall(self._metadata().decode("ascii", "replace")))
        supply_mv = given_mv or _ASSUMED_MV
        self._supply_v = supply_mv / 1000
        settings = {
            "mode": self._settings.mode, "supply_mv": supply_mv,
            "supply": "driven by the kit" if is_source else "given by the user" if given_mv else "assumed",
            "reported": reported,
        }  # fmt: skip
        return self.describe(
            f"PPK2 HW {reported.get('HW', 'unknown')}", self._accuracy(is_known=bool(given_mv)),
            rate_hz=float(ppk2_stream.RATE_HZ), clock="meter", has_trigger=True, settings=settings,
        )  # fmt: skip

    def _accuracy(self, *, is_known: bool) -> MeterAccuracy:
        current = assume_accuracy("ppk2", accuracy=self._settings.accuracy)
        within = _GIVEN_WITHIN if is_known else _ASSUMED_WITHIN
        return replace(
            current,
            gain_uncertainty=math.hypot(current.gain_uncertainty, within / math.sqrt(3)),
            accuracy_source=f"current {current.accuracy_source}; supply not measured, within {within:.0%}",
        )

    def _metadata(self) -> bytes:
        """Ask for the constants and read until END."""
        self._send(kit.GET_METADATA)
        answer, until = b"", time.monotonic() + ANSWER_S
        while b"END" not in answer:
            left = until - time.monotonic()
            if left <= 0 or len(answer) > _MOST_METADATA:
                raise NoAnswerError(
                    f"{self._address} did not answer as a PPK2 within {ANSWER_S:g} s",
                    hint="is it a PPK2? Unplug it and plug it in again, without a hub in between",
                )
            answer += self.port.read(deadline_s=left)
        return answer

    def _begin(self) -> None:
        self.discard()
        assert self._calibration is not None
        state = ppk2_stream.initial(calibration=self._calibration, supply_v=self._supply_v)
        self._decoder = Decoder(ppk2_stream.decode, state)
        self._send(kit.START)

    def _end(self) -> None:
        self._send(kit.STOP)
        self.discard()

    def _close(self) -> None:
        if self._port is not None and self._info is not None and self._settings.mode == "source":
            self._send(kit.POWER_OFF)
        super()._close()

    def _send(self, data: bytes) -> None:
        self.port.write(data)
