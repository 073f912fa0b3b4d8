"""How many values a meter really gave: what a user has to know before believing a number."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from devices.meters.contract import MeterInfo
from firmware_tools.trace import Trace


@dataclass(frozen=True)
class Rates:
    """What came in some time.

    Attributes:
        samples: How many there are.
        duration_s: From the first to the last.
        delivered_hz: Samples per second, None with fewer than two.
        changed_hz: Samples per second that differ from the one before in any value, None likewise.
        effective_hz: New values per second. A meter with a clock of its own stamps each conversion, so each sample is
            new; one that is asked again and again repeats itself, so only a changed reading is certainly new. On a
            perfectly steady load this is then less than the meter does.
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


def changed_readings(trace: Trace) -> int:
    """Return how many samples differ from the one before in power, voltage or current."""
    columns = [trace.power_w, trace.supply_v, trace.current_a]
    steps = [(each[1:] != each[:-1]) & ~(np.isnan(each[1:]) & np.isnan(each[:-1])) for each in columns]
    return int(np.count_nonzero(np.logical_or.reduce(steps)))


def rates(trace: Trace, info: MeterInfo) -> Rates:
    """Return what came; `info` says whether the samples prove themselves new."""
    duration_s = float(trace.time_s[-1] - trace.time_s[0]) if len(trace) else 0.0
    delivered = (len(trace) - 1) / duration_s if duration_s > 0 else None
    changed = changed_readings(trace) / duration_s if duration_s > 0 else None
    stamped = info.settings.get("recorded_clock", info.clock) == "meter"
    due = len(trace) + trace.lost
    return Rates(
        len(trace), duration_s, delivered, changed, delivered if stamped else changed,
        trace.lost, trace.damaged, trace.lost / due if due else 0.0,
    )  # fmt: skip
