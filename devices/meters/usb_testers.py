"""USB testers that answer when asked: RuiDeng's UM24C, UM25C, UM34C (over Bluetooth) and TC66C (over USB).

Requests from kolinger/rd-usb, interfaces/um.py and interfaces/tc.py; the answers are in firmware_tools/codecs. Their
values change 2 to 10 times in a second: good for means over half a minute, not for one inference.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from devices.meters.accuracy import assumed
from devices.meters.contract import MeterInfo
from devices.meters.errors import MeterSilentError
from devices.meters.settings import ACCURACY, checked
from devices.meters.streamed import StreamedMeter
from firmware_tools.codecs import tc66c, um25c
from firmware_tools.trace import Trace

SETTINGS = (ACCURACY,)
_PATIENCE_S = 1.0  # a request without an answer for so long is lost: ask again
_GREETINGS = 3


class AskedMeter(StreamedMeter):
    """A tester that sends one answer for each request."""

    request = b""
    interval_s = 0.2

    def __init__(self, name: str, address: str, settings: Mapping[str, Any]) -> None:
        super().__init__(name, address, checked(name, settings, SETTINGS))
        self._asked_s: float | None = None
        self._due_s = 0.0

    def _greet(self) -> MeterInfo:
        self.use_decoder()
        for _ in range(_GREETINGS):
            self.discard()
            self.port.write(self.request)
            if self._wait_for_answer():
                return self._described()
        raise MeterSilentError(
            f"{self._address} did not answer as a {self.kind.upper()} within {_GREETINGS * _PATIENCE_S:g} s",
            hint="is it switched on, and, over Bluetooth, bound to this port (`rfcomm bind`)?",
        )

    def _wait_for_answer(self) -> bool:
        until = time.monotonic() + _PATIENCE_S
        while (left := until - time.monotonic()) > 0:
            data = self.port.read(deadline_s=left)
            if data and len(self.decoded(data)):
                return True
        return False

    def _described(self) -> MeterInfo:
        state = self._decoder.state if self._decoder else None
        model = getattr(state, "model", None) or getattr(state, "identity", None)
        accuracy = assumed(self.kind, accuracy=self._settings["accuracy"])
        return self.described(
            str(model or self.kind.upper()), accuracy, rate_hz=1 / self.interval_s, clock="host",
            settings={"accuracy": self._settings["accuracy"], "interval_ms": round(1000 * self.interval_s)},
        )  # fmt: skip

    def _begin(self) -> None:
        super()._begin()
        self.use_decoder()
        self._asked_s, self._due_s = None, time.monotonic()

    def _next(self, deadline_s: float) -> Trace:
        """Ask if it is time, and wait for the answer at most so long."""
        now_s = time.monotonic()
        if self._asked_s is not None and now_s - self._asked_s > _PATIENCE_S:
            self._asked_s = None
        if self._asked_s is None:
            wait_s = min(max(0.0, self._due_s - now_s), deadline_s)
            time.sleep(wait_s)
            if time.monotonic() < self._due_s:
                return Trace.empty()
            self.port.write(self.request)
            self._asked_s = time.monotonic()
            self._due_s = self._asked_s + self.interval_s
            deadline_s -= wait_s
        trace = super()._next(max(0.0, min(deadline_s, _PATIENCE_S)))
        if len(trace) or trace.damaged:
            self._asked_s = None
        return trace


class Um25c(AskedMeter):
    """UM24C, UM25C or UM34C on the serial port that Bluetooth makes of it."""

    kind = "um25c"
    request = um25c.REQUEST
    interval_s = 0.3


class Tc66c(AskedMeter):
    """TC66C on its USB port."""

    kind = "tc66c"
    baud = 115_200
    request = tc66c.REQUEST
    interval_s = 0.1
