"""Reads USB testers that answer on request: RuiDeng's UM24C, UM25C, UM34C (over Bluetooth) and TC66C (over USB).

Requests from kolinger/rd-usb, interfaces/um.py and interfaces/tc.py; the answers are in firmware_tools/codecs. Their
values change 2 to 10 times a second: good for means over half a minute, not for a single inference.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from devices.meters.accuracy import assume_accuracy
from devices.meters.meter_contract import MeterInfo
from devices.meters.meter_settings import accuracy_setting, parse_settings
from devices.meters.streamed import StreamedMeter
from firmware_tools.codecs import tc66c, um25c
from firmware_tools.codecs.framing import Decoder
from firmware_tools.errors import NoAnswerError
from firmware_tools.trace import Trace

_ANSWER_S = 1.0  # a request without an answer for so long is lost, and repeated
_GREETINGS = 3
StateT = TypeVar("StateT")


@dataclass(frozen=True)
class TesterSettings:
    """Settings of a tester."""

    accuracy: float | None = accuracy_setting()


class PolledTester(StreamedMeter[TesterSettings, StateT]):
    """A tester that sends one answer per request."""

    request = b""
    interval_s = 0.2
    Settings = TesterSettings

    def __init__(self, name: str, address: str, settings: Mapping[str, object]) -> None:
        super().__init__(name, address, parse_settings(name, settings, TesterSettings))
        self._requested_s: float | None = None
        self._due_s = 0.0

    def _make_decoder(self) -> Decoder[StateT]:
        raise NotImplementedError

    def _model(self) -> str | None:
        """Return what the answers say about the tester."""
        raise NotImplementedError

    def _greet(self) -> MeterInfo:
        self._decoder = self._make_decoder()
        for _ in range(_GREETINGS):
            self.discard()
            self.port.write(self.request)
            if self._wait_for_answer():
                return self._describe()
        raise NoAnswerError(
            f"{self._address} did not answer as a {self.kind.upper()} within {_GREETINGS * _ANSWER_S:g} s",
            hint="is it switched on, and, over Bluetooth, bound to this port (`rfcomm bind`)?",
        )

    def _wait_for_answer(self) -> bool:
        until = time.monotonic() + _ANSWER_S
        while (left := until - time.monotonic()) > 0:
            data = self.port.read(deadline_s=left)
            if data and len(self.decode(data)):
                return True
        return False

    def _describe(self) -> MeterInfo:
        accuracy = self._settings.accuracy
        return self.describe(
            self._model() or self.kind.upper(), assume_accuracy(self.kind, accuracy=accuracy),
            rate_hz=1 / self.interval_s, clock="host",
            settings={"accuracy": accuracy, "interval_ms": round(1000 * self.interval_s)},
        )  # fmt: skip

    def _begin(self) -> None:
        super()._begin()
        self._decoder = self._make_decoder()
        self._requested_s, self._due_s = None, time.monotonic()

    def _next(self, deadline_s: float) -> Trace:
        """Send a request if one is due, and wait at most so long for the answer."""
        now_s = time.monotonic()
        if self._requested_s is not None and now_s - self._requested_s > _ANSWER_S:
            self._requested_s = None
        if self._requested_s is None:
            wait_s = min(max(0.0, self._due_s - now_s), deadline_s)
            time.sleep(wait_s)
            if time.monotonic() < self._due_s:
                return Trace.empty()
            self.port.write(self.request)
            self._requested_s = time.monotonic()
            self._due_s = self._requested_s + self.interval_s
            deadline_s -= wait_s
        trace = super()._next(max(0.0, min(deadline_s, _ANSWER_S)))
        if len(trace) or trace.damaged:
            self._requested_s = None
        return trace


class Um25c(PolledTester[um25c.Um25cState]):
    """UM24C, UM25C or UM34C on the serial port that Bluetooth provides."""

    kind = "um25c"
    request = um25c.REQUEST
    interval_s = 0.3

    def _make_decoder(self) -> Decoder[um25c.Um25cState]:
        return Decoder(um25c.decode, um25c.initial())

    def _model(self) -> str | None:
        return self.decoder.state.model


class Tc66c(PolledTester[tc66c.Tc66cState]):
    """TC66C on its USB port."""

    kind = "tc66c"
    baud = 115_200
    request = tc66c.REQUEST
    interval_s = 0.1

    def _make_decoder(self) -> Decoder[tc66c.Tc66cState]:
        return Decoder(tc66c.decode, tc66c.initial())

    def _model(self) -> str | None:
        return self.decoder.state.identity
