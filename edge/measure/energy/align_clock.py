"""Aligns by clocks alone: the board's by round trips to its agent, the meter's by the arrival of its samples.

A round trip brackets the board's reading of its clock between two readings of the host's, so the best of many bounds
the offset by half its duration. Samples arrive late, never early: the lower envelope of arrival over the meter's time
gives the meter's clock, but for the least delay, which no message in one direction can show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.measure.energy.value import Alignment, RefusedAlignment

Array = NDArray[np.float64]
METHOD = "round trips"
_FEWEST_ARRIVALS = 10
_SHORTEST_S = 5.0
# The least delay from the last sample of a frame to its arrival: the frame's own time on the wire (3 ms for 16 samples
# at 500000 baud) and the USB bridge's latency timer. Somewhere from 0 to 8 ms: an assumption, rectangular.
_LEAST_DELAY_S = 0.008
# How far the clock of a meter may be from the board's: a ceramic resonator's 0.5 % and its temperature, a quartz'
# 100 ppm with much to spare. Beyond that, samples are missing, or the arrivals are not those of live samples.
_MOST_DRIFT, _MOST_DRIFT_OF = 0.02, {"ppk2": 0.001}
# How far two quartz clocks differ: +-100 ppm, where one batch of round trips cannot show it.
_QUARTZ = 1e-4


@dataclass(frozen=True)
class RoundTrip:
    """The host's clock at the request, the board's at its answer, the host's at the answer's arrival."""

    asked_s: float
    board_s: float
    answered_s: float

    @property
    def half_s(self) -> float:
        """Half the round trip: the bound of the offset's error."""
        return (self.answered_s - self.asked_s) / 2

    @property
    def host_less_board_s(self) -> float:
        """The host's clock less the board's."""
        return self.asked_s + self.half_s - self.board_s


@dataclass(frozen=True)
class MeterClock:
    """The meter's clock on the host's: meter = host + offset_s + drift * (host - reference_s)."""

    offset_s: float
    drift: float
    reference_s: float
    uncertainty_s: float
    drift_uncertainty: float
    detail: str


def most_drift(kind: str) -> float:
    """Return by how much the clock of a kind of meter may differ from the board's, relative."""
    return _MOST_DRIFT_OF.get(kind, _MOST_DRIFT)


def align_clock(
    before: Sequence[RoundTrip], after: Sequence[RoundTrip], meter: MeterClock | RefusedAlignment, *, lag_s: float
) -> Alignment | RefusedAlignment:
    """Chain board to host to meter; `before` and `after` are the round trips on either side of the run.

    `lag_s` is the standard uncertainty of the delay of power against load.
    """
    if isinstance(meter, RefusedAlignment):
        return meter
    batches = [min(batch, key=lambda trip: trip.half_s) for batch in (before, after) if batch]
    if not batches:
        return RefusedAlignment(METHOD, "no round trips to the agent were recorded")
    first, last = batches[0], batches[-1]
    apart = last.board_s - first.board_s
    reference = (first.board_s + last.board_s) / 2
    between = (first.host_less_board_s + last.host_less_board_s) / 2
    drift = (last.host_less_board_s - first.host_less_board_s) / apart if apart > 0 else 0.0
    worst = max(trip.half_s for trip in batches)
    of_drift = float(np.hypot(first.half_s, last.half_s)) / 3**0.5 / apart if apart > 0 else _QUARTZ / 3**0.5
    # host = board + between + drift * (board - reference), and the meter's clock of that.
    there = reference + between
    uncertainty_s = float(np.hypot(worst / 3**0.5, meter.uncertainty_s))
    return Alignment(
        method=METHOD,
        offset_s=between + meter.offset_s + meter.drift * (there - meter.reference_s),
        drift=(1 + drift) * (1 + meter.drift) - 1,
        reference_s=reference,
        uncertainty_s=uncertainty_s,
        drift_uncertainty=float(np.hypot(of_drift, meter.drift_uncertainty)),
        power_uncertainty_s=float(np.hypot(uncertainty_s, lag_s)),
        detail=f"best round trip {2e3 * worst:.3g} ms, half of it the bound; {meter.detail}",
    )


def clock_of_host(step_s: float) -> MeterClock:
    """Return the clock of a meter whose samples are stamped by the host when they arrive.

    A stamp is late by an unknown part of the distance of two samples: rectangular from 0 to all of it, not corrected.
    """
    return MeterClock(
        0.0, 0.0, 0.0, step_s / 3**0.5, 0.0, f"samples stamped on arrival, up to {1e3 * step_s:.3g} ms late"
    )


def clock_of_meter(arrivals: Array, most: float = _MOST_DRIFT) -> MeterClock | RefusedAlignment:
    """Fit the line below all arrivals that lies closest to them.

    It is the edge of the lower convex hull over the mean of the meter's times: no other line below all points has a
    smaller sum of distances.

    Args:
        arrivals: (m, 2): the time of the newest sample on the meter's clock, and the host's clock when it arrived.
        most: How far the clocks may differ, relative.
    """
    span = float(np.ptp(arrivals[:, 0])) if len(arrivals) else 0.0
    if len(arrivals) < _FEWEST_ARRIVALS or span < _SHORTEST_S:
        return RefusedAlignment(METHOD, f"{len(arrivals)} arrivals over {span:.3g} s do not show the meter's clock")
    x, y = arrivals[:, 0] - arrivals[0, 0], arrivals[:, 1] - arrivals[0, 1]
    left, right = _support(x, y)
    slope = float((y[right] - y[left]) / (x[right] - x[left]))
    if not slope > 0 or abs(1 / slope - 1) > most:
        said = f"{span:.4g} s of the meter's clock would be {slope * span:.4g} s of the host's"
        return RefusedAlignment(METHOD, f"{said}: samples are missing that it does not count, or they are not live")
    late = y - y[left] - slope * (x - x[left])
    typical = float(np.quantile(late, 0.05))  # how far below the earliest twentieth the envelope lies
    least = _LEAST_DELAY_S / 2
    reference_host = float(arrivals[0, 1] + y[left] - least + slope * (x.mean() - x[left]))
    reference_meter = float(arrivals[0, 0] + x.mean())
    return MeterClock(
        offset_s=reference_meter - reference_host,
        drift=1 / slope - 1,
        reference_s=reference_host,
        uncertainty_s=float(np.hypot(_LEAST_DELAY_S / 12**0.5, typical)),
        drift_uncertainty=float(typical / span),
        detail=f"lower envelope of {len(arrivals)} arrivals, least delay taken as 0 to {1e3 * _LEAST_DELAY_S:g} ms",
    )


def _support(x: Array, y: Array) -> tuple[int, int]:
    """Return the two points of the lower convex hull between which the mean of x lies (Andrew's monotone chain)."""
    hull: list[int] = []
    for index in range(len(x)):
        while len(hull) > 1 and _turns_down(x, y, hull[-2], hull[-1], index):
            hull.pop()
        hull.append(index)
    right = next(place for place, index in enumerate(hull) if x[index] >= x.mean())
    right = max(1, right)
    return hull[right - 1], hull[right]


def _turns_down(x: Array, y: Array, a: int, b: int, c: int) -> bool:
    return bool((x[b] - x[a]) * (y[c] - y[a]) <= (y[b] - y[a]) * (x[c] - x[a]))
