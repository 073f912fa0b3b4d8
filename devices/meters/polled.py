"""Base of the meters that are polled: the host reads a file or program repeatedly, on its own clock."""

from __future__ import annotations

import math
import time
from types import TracebackType

import numpy as np

from devices.meters.meter_contract import MeterInfo
from firmware_tools.errors import InstrumentError
from firmware_tools.trace import Trace

_BATCH_S = 0.02
Reading = tuple[float, float, float, float]  # time_s, power_w, supply_v, current_a; NaN where there is none


class PolledMeter:
    """A polled meter: schedules the polls, and gives each sample the time of the middle of its poll.

    A subclass implements `_open` and `_ask`. `_new_s` is the time between new values: values that passed unseen because
    a poll came late are counted as lost.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._info: MeterInfo | None = None
        self._poll_s = 0.1
        self._new_s: float | None = None
        self._due_s: float | None = None
        self._last_s: float | None = None

    @property
    def name(self) -> str:
        """The name the user calls it by."""
        return self._name

    def __enter__(self) -> PolledMeter:
        try:
            self._info = self._open()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._close()

    def info(self) -> MeterInfo:
        """Return its description."""
        if self._info is None:
            raise InstrumentError(f"{self._name} is not open")
        return self._info

    def start(self) -> None:
        """Start polling with the next `read`."""
        self._due_s, self._last_s = time.monotonic(), None

    def stop(self) -> None:
        """Stop polling."""
        self._due_s = None

    def read(self, deadline_s: float) -> Trace:
        """Poll when due, until there are samples of a short while; at most so long."""
        if self._due_s is None:
            raise InstrumentError(f"{self._name} was not started")
        begin = time.monotonic()
        until = begin + deadline_s
        readings: list[Reading] = []
        lost = 0
        while self._due_s <= (min(until, begin + _BATCH_S) if readings else until):
            time.sleep(max(0.0, self._due_s - time.monotonic()))
            reading = self._ask()
            self._due_s = max(self._due_s + self._poll_s, time.monotonic())
            if reading is not None and (self._last_s is None or reading[0] > self._last_s):
                lost += self._count_missed(reading[0])
                readings.append(reading)
                self._last_s = reading[0]
        if not readings:
            time.sleep(max(0.0, until - time.monotonic()))
        return as_trace(readings, lost=lost)

    def _count_missed(self, now_s: float) -> int:
        """Return how many new values were missed since the last poll."""
        if self._new_s is None or self._last_s is None:
            return 0
        return max(0, math.floor((now_s - self._last_s) / self._new_s + 0.01) - 1)

    def _open(self) -> MeterInfo:
        raise NotImplementedError

    def _ask(self) -> Reading | None:
        raise NotImplementedError

    def _close(self) -> None:
        """Release what `_open` acquired."""


def as_trace(readings: list[Reading], *, lost: int = 0) -> Trace:
    """Return readings as a trace without inputs."""
    if not readings:
        return Trace.empty(lost=lost)
    time_s, power_w, supply_v, current_a = np.array(readings, np.float64).T.copy()
    return Trace(time_s, power_w, supply_v, current_a, np.zeros(len(readings), np.uint8), lost)
