"""Chooses the best of three alignments: trigger edges, else the more certain of load code and round trips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from edge.measure.energy import align_code, align_edges
from edge.measure.energy.align_clock import MeterClock, RoundTrip, align_clock, clock_of_host, clock_of_meter
from edge.measure.energy.power import Power
from edge.measure.energy.schedule import Schedule
from edge.measure.energy.value import Alignment, RefusedAlignment
from firmware_tools.trace import Trace

Array = NDArray[np.float64]
# A microcontroller's ceramic resonator may be off by 0.5 % and more; quartz by 100 ppm.
_RESONATOR = 0.01
# Two alignments that differ by more than so many of their combined standard uncertainties contradict each other.
CONTRADICTION = 5.0


@dataclass(frozen=True, eq=False)
class ClockEvidence:
    """The data that relate the clocks: the run, the trace, the arrivals of samples, and round trips."""

    schedule: Schedule
    trace: Trace
    power: Power
    arrivals: Array
    before: tuple[RoundTrip, ...]
    after: tuple[RoundTrip, ...]
    meter_has_clock: bool
    has_trigger: bool
    most_drift: float


@dataclass(frozen=True)
class Aligned:
    """The possible alignments, the best first, and the refused ones."""

    found: tuple[Alignment, ...]
    refused: tuple[RefusedAlignment, ...]

    def contradictions(self, moments_s: Sequence[float]) -> tuple[str, ...]:
        """Return a sentence for each two alignments that differ more than their uncertainties explain."""
        return tuple(
            f"{one.method} and {other.method} differ by {1e3 * apart:.3g} ms, their combined standard uncertainty is "
            f"{1e3 * together:.2g} ms"
            for one, other in combinations(self.found, 2)
            for apart in [max(abs(one.meter_s(moment) - other.meter_s(moment)) for moment in moments_s)]
            for together in [float(np.hypot(one.uncertainty_s, other.uncertainty_s))]
            if apart > CONTRADICTION * together
        )


def align(evidence: ClockEvidence) -> Aligned:
    """Try all three ways."""
    meter = (
        clock_of_meter(evidence.arrivals, evidence.most_drift)
        if evidence.meter_has_clock
        else clock_of_host(evidence.power.step_s)
    )
    schedule, rates = evidence.schedule, _rates(evidence.schedule, meter)
    tried: list[Alignment | RefusedAlignment] = []
    lag_s = evidence.power.lag_s
    if not evidence.has_trigger:
        tried.append(RefusedAlignment(align_edges.METHOD, "the meter has no trigger input"))
    elif not schedule.marks:
        tried.append(RefusedAlignment(align_edges.METHOD, "no trigger line was named"))
    else:
        tried.append(align_edges.align_edges(evidence.trace, schedule.marks, rates, lag_s=lag_s))
    tried.append(align_code.align_code(evidence.power, schedule.codes, schedule.chip_s, rates))
    tried.append(align_clock(evidence.before, evidence.after, meter, lag_s=lag_s))
    found = [each for each in tried if isinstance(each, Alignment)]
    # A trigger line was wired and named on purpose: where it can be used, it is.
    found.sort(key=lambda each: (each.method != align_edges.METHOD, each.shown_uncertainty_s))
    return Aligned(tuple(found), tuple(each for each in tried if isinstance(each, RefusedAlignment)))


def _rates(schedule: Schedule, meter: MeterClock | RefusedAlignment) -> Array:
    """Return the rates of the meter's clock to try: the one from arrivals, else all that a resonator may have."""
    if not isinstance(meter, RefusedAlignment):
        return np.array([meter.drift])
    spacing = schedule.chip_s / 3 / schedule.whole.seconds
    count = int(np.ceil(_RESONATOR / spacing))
    rates: Array = spacing * np.arange(-count, count + 1.0)
    return rates
