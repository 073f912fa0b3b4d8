"""Counts how many new values a meter delivered, and sums up their power."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from devices.meters.kinds import KINDS
from devices.meters.meter_contract import MeterInfo
from firmware_tools.trace import Trace


@dataclass(frozen=True)
class Rates:
    """The samples of some time; rates are None with fewer than two samples.

    Attributes:
        samples: Their number.
        duration_s: From the first to the last.
        delivered_hz: Samples per second.
        changed_hz: Samples per second that differ from the one before in any value.
        effective_hz: New values per second. If the meter numbers its conversions, every sample is a new value. Others
            may repeat themselves, so only a changed reading is certainly new; on a perfectly steady load this is then
            less than the meter's real rate.
        lost: Samples known to be lost.
        damaged: Frames that were discarded.
        lost_share: Lost samples, as a share of all that should have come.
    """

    samples: int
    duration_s: float
    delivered_hz: float | None
    changed_hz: float | None
    effective_hz: float | None
    lost: int
    damaged: int
    lost_share: float

    def to_json(self) -> dict[str, object]:
        """Return it as `json.dumps` takes it."""
        return asdict(self)


@dataclass(frozen=True)
class Powers:
    """Mean over time (not over samples), largest and smallest power; None without samples."""

    mean_w: float | None
    peak_w: float | None
    least_w: float | None

    def to_json(self) -> dict[str, object]:
        """Return it as `json.dumps` takes it."""
        return asdict(self)


class RunningTotals:
    """Sums over consecutive traces; stores only one sample, whatever the length."""

    def __init__(self) -> None:
        self._last: Trace | None = None
        self._first_s: float | None = None
        self._samples = self._changed = self._lost = self._damaged = 0
        self._energy_j = 0.0
        self._peak, self._least = -math.inf, math.inf

    def add(self, trace: Trace) -> None:
        """Add the samples that have arrived."""
        self._lost += trace.lost
        self._damaged += trace.damaged
        if not len(trace):
            return
        joined = Trace.concatenate([self._last, trace]) if self._last is not None else trace
        self._first_s = float(trace.time_s[0]) if self._first_s is None else self._first_s
        self._samples += len(trace)
        self._changed += count_changes(joined)
        steps = np.diff(joined.time_s)
        self._energy_j += float(np.dot(steps, (joined.power_w[1:] + joined.power_w[:-1]) / 2))
        self._peak = max(self._peak, float(trace.power_w.max()))
        self._least = min(self._least, float(trace.power_w.min()))
        self._last = _last_of(trace)

    def powers(self) -> Powers:
        """Return the power of all samples."""
        if self._last is None:
            return Powers(None, None, None)
        mean = self._energy_j / self._duration() if self._duration() > 0 else float(self._last.power_w[0])
        return Powers(mean, self._peak, self._least)

    def rates(self, info: MeterInfo) -> Rates:
        """Return the counts; `info` decides whether every sample is a new value."""
        duration_s, due = self._duration(), self._samples + self._lost
        delivered = (self._samples - 1) / duration_s if duration_s > 0 else None
        changed = self._changed / duration_s if duration_s > 0 else None
        kind = KINDS.get(str(info.settings.get("recorded_kind", info.kind)))
        is_numbered = kind is not None and kind.is_numbered
        return Rates(
            self._samples, duration_s, delivered, changed, delivered if is_numbered else changed,
            self._lost, self._damaged, self._lost / due if due else 0.0,
        )  # fmt: skip

    def _duration(self) -> float:
        if self._last is None or self._first_s is None:
            return 0.0
        return float(self._last.time_s[0]) - self._first_s


def rates(trace: Trace, info: MeterInfo) -> Rates:
    """Return the counts of a whole trace."""
    running = RunningTotals()
    running.add(trace)
    return running.rates(info)


def count_changes(trace: Trace) -> int:
    """Return how many samples differ from the one before in power, voltage or current."""
    columns = [trace.power_w, trace.supply_v, trace.current_a]
    steps = [(each[1:] != each[:-1]) & ~(np.isnan(each[1:]) & np.isnan(each[:-1])) for each in columns]
    return int(np.count_nonzero(np.logical_or.reduce(steps)))


def _last_of(trace: Trace) -> Trace:
    last = slice(len(trace) - 1, None)
    return Trace(
        trace.time_s[last], trace.power_w[last], trace.supply_v[last], trace.current_a[last], trace.inputs[last]
    )
