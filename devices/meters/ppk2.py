"""Nordic's Power Profiler Kit II. Facts of its protocol: firmware_tools/codecs/ppk2.py and ppk2_calibration.py.

As an ampere meter (the default) it drives nothing and measures no voltage: power is the current times `supply_mv`,
which is assumed to be 5 V unless given. As a source it drives its output, so the voltage must be given. Closing the
port takes the voltage away from the board (ppk2lab, README), so the port stays open from entering to leaving, whatever
is started and stopped meanwhile.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from devices.meters.accuracy import Accuracy, assumed
from devices.meters.contract import MeterInfo
from devices.meters.errors import MeterSettingError, MeterSilentError
from devices.meters.settings import ACCURACY, Setting, checked
from devices.meters.streamed import ANSWER_S, StreamedMeter
from firmware_tools.codecs import ppk2_calibration as says
from firmware_tools.codecs.ppk2 import RATE_HZ

SETTINGS = (
    Setting("mode", str, "ampere: the board has a supply of its own; source: the kit feeds it", "ampere",
            choices=("ampere", "source")),
    Setting("supply_mv", int, "voltage of the supply; with mode=source what the kit gives", low=800, high=5000,
            advice="; the kit is for no more: lower the supply to 5.0 V, measured behind the kit, and state 5000"),
    ACCURACY,
)  # fmt: skip
_ASSUMED_MV, _ASSUMED_WITHIN = 5000, 0.05  # what USB promises at a port: 4.75 to 5.25 V
_GIVEN_WITHIN = 0.01
_MOST_METADATA = 1 << 14
_TOLD = re.compile(r"^(Calibrated|HW|mode|VDD|IA): *(\S+) *$", re.MULTILINE)


class Ppk2(StreamedMeter):
    """A PPK2 at a serial port."""

    kind = "ppk2"

    def __init__(self, name: str, address: str, settings: Mapping[str, Any]) -> None:
        chosen = checked(name, settings, SETTINGS)
        if chosen["mode"] == "source" and chosen["supply_mv"] is None:
            raise MeterSettingError(
                f"{name}: mode=source needs supply_mv, the voltage that the board takes",
                hint="800 to 5000 mV; a wrong one can destroy the board",
            )
        super().__init__(name, address, chosen, pace_s=0.005)
        self._calibration: says.Calibration | None = None

    def _greet(self) -> MeterInfo:
        is_source, asked_mv = self._settings["mode"] == "source", self._settings["supply_mv"]
        self._send(says.STOP)  # somebody may have left it measuring
        self.discard()
        self._calibration = says.parse_metadata(self._metadata())  # a kit that is broken is never switched on
        if is_source:
            self._send(says.supply_command(asked_mv / 1000))
        self._send(says.SOURCE if is_source else says.MEASURE_ONLY)
        self._send(says.POWER_ON)
        told = dict(_TOLD.findall(self._metadata().decode("ascii", "replace")))
        supply_mv = asked_mv or _ASSUMED_MV
        self._supply_v = supply_mv / 1000
        settings = {
            "mode": self._settings["mode"], "supply_mv": supply_mv,
            "supply": "driven by the kit" if is_source else "given by the user" if asked_mv else "assumed",
            "reported": told,
        }  # fmt: skip
        return self.described(
            f"PPK2 HW {told.get('HW', 'unknown')}", self._accuracy(is_known=bool(asked_mv)), rate_hz=float(RATE_HZ),
            clock="meter", has_trigger=True, settings=settings,
        )  # fmt: skip

    def _accuracy(self, *, is_known: bool) -> Accuracy:
        current = assumed("ppk2", accuracy=self._settings["accuracy"])
        within = _GIVEN_WITHIN if is_known else _ASSUMED_WITHIN
        return replace(
            current,
            gain_uncertainty=math.hypot(current.gain_uncertainty, within / math.sqrt(3)),
            accuracy_source=f"current {current.accuracy_source}; supply not measured, within {within:.0%}",
        )

    def _metadata(self) -> bytes:
        """Ask for the constants and read until END."""
        self._send(says.GET_METADATA)
        answer, until = b"", time.monotonic() + ANSWER_S
        while b"END" not in answer:
            left = until - time.monotonic()
            if left <= 0 or len(answer) > _MOST_METADATA:
                raise MeterSilentError(
                    f"{self._address} did not answer as a PPK2 within {ANSWER_S:g} s",
                    hint="is it a PPK2? Unplug it and plug it in again; it wants a port of its own, without a hub",
                )
            answer += self.port.read(deadline_s=left)
        return answer

    def _begin(self) -> None:
        self.discard()
        self.use_decoder(calibration=self._calibration, supply_v=self._supply_v)
        self._send(says.START)

    def _end(self) -> None:
        self._send(says.STOP)
        self.discard()

    def _close(self) -> None:
        if self._port is not None and self._info is not None and self._settings["mode"] == "source":
            self._send(says.POWER_OFF)
        super()._close()

    def _send(self, data: bytes) -> None:
        self.port.write(data)
