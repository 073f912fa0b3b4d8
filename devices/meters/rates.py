"""How many values a meter really gave, and what they came to: what a user has to know before believing a number."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from devices.meters.contract import MeterInfo
from firmware_tools.trace import Trace

NUMBERED = ("edge", "ppk2")


@dataclass(frozen=True)
class Rates:
    """What came in some time; rates are None with fewer than two samples.

    Attributes:
        samples: How many there are.
        duration_s: From the first to the last.
        delivered_hz: Samples per second.
        changed_hz: Samples per second that differ from the one before in any value.
        effective_hz: New values per second. A meter that numbers its conversions (NUMBERED) gives a new one with each
            sample; any other may repeat itself, so only a changed reading is certainly new. On a perfectly steady load
            this is then less than the meter does.
        lost: Samples known to be lost.
        damaged: Frames that were thrown away.
        lost_share: Lost of all that should have come.
    """

    samples: int
    duration_s: float
    delivered_hz: float | None
    changed_hz: float | None
    effective_hz: float | None
    lost: int
    damaged: int
    lost_share: float

    def to_json(self) -> dict[str, Any]:
        """Return it as `json.dumps` takes it."""
        return asdict(self)


@dataclass(frozen=True)
class Powers:
    """Mean over time (not over samples), largest and smallest power; None without samples."""

    mean_w: float | None
    peak_w: float | None
    least_w: float | None

    def to_json(self) -> dict[str, Any]:
        """Return it as `json.dumps` takes it."""
        return asdict(self)


class Running:
    """Sums over traces that follow each other; keeps one sample, whatever the length."""

    def __init__(self) -> None:
        self._last: Trace | None = None
        self._first_s: float | None = None
        self._samples = self._changed = self._lost = self._damaged = 0
        self._energy_j = 0.0
        self._peak, self._least = -math.inf, math.inf

    def add(self, trace: Trace) -> None:
        """Take the samples that have come."""
        self._lost += trace.lost
        self._damaged += trace.damaged
        if not len(trace):
            return
        joined = Trace.joined([self._last, trace]) if self._last is not None else trace
        self._first_s = float(trace.time_s[0]) if self._first_s is None else self._first_s
        self._samples += len(trace)
        self._changed += changed_readings(joined)
        steps = np.diff(joined.time_s)
        self._energy_j += float(np.dot(steps, (joined.power_w[1:] + joined.power_w[:-1]) / 2))
        self._peak = max(self._peak, float(trace.power_w.max()))
        self._least = min(self._least, float(trace.power_w.min()))
        self._last = _last_of(trace)

    def powers(self) -> Powers:
        """Return what the samples came to."""
        if self._last is None:
            return Powers(None, None, None)
        mean = self._energy_j / self._duration() if self._duration() > 0 else float(self._last.power_w[0])
        return Powers(mean, self._peak, self._least)

    def rates(self, info: MeterInfo) -> Rates:
        """Return what came; `info` says whether the samples prove themselves new."""
        duration_s, due = self._duration(), self._samples + self._lost
        delivered = (self._samples - 1) / duration_s if duration_s > 0 else None
        changed = self._changed / duration_s if duration_s > 0 else None
        is_numbered = info.settings.get("recorded_kind", info.kind) in NUMBERED
        return Rates(
            self._samples, duration_s, delivered, changed, delivered if is_numbered else changed,
            self._lost, self._damaged, self._lost / due if due else 0.0,
        )  # fmt: skip

    def _duration(self) -> float:
        if self._last is None or self._first_s is None:
            return 0.0
        return float(self._last.time_s[0]) - self._first_s


def rates(trace: Trace, info: MeterInfo) -> Rates:
    """Return what came in a whole trace."""
    running = Running()
    running.add(trace)
    return running.rates(info)


def changed_readings(trace: Trace) -> int:
    """Return how many samples differ from the one before in power, voltage or current."""
    columns = [trace.power_w, trace.supply_v, trace.current_a]
    steps = [(each[1:] != each[:-1]) & ~(np.isnan(each[1:]) & np.isnan(each[:-1])) for each in columns]
    return int(np.count_nonzero(np.logical_or.reduce(steps)))


def _last_of(trace: Trace) -> Trace:
    last = slice(len(trace) - 1, None)
    return Trace(
        trace.time_s[last], trace.power_w[last], trace.supply_v[last], trace.current_a[last], trace.inputs[last]
    )
