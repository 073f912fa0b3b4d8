"""Converts a trace into power over time, integrable between any two moments, with gaps counted.

The meaning of a sample depends on the meter. One that averages over its conversion (INA226 and its like) gives the
mean of the time since the sample before: its power holds over (t[i-1], t[i]]. One whose samples are moments is joined
by straight lines. The sum over samples of power, unweighted, is wrong for both where they are unevenly spaced
(exo-explore/exo#2038).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edge.measure.energy.value import Alignment, Drawing
from firmware_tools.trace import Trace

DRAWN_POINTS = 2000
Array = NDArray[np.float64]
AVERAGES, MOMENTS = "averages since the sample before", "moments, joined by straight lines"
# Meters whose samples are means of the time before their stamp. The differences of RAPL's counter are means too, but
# stamped in their middle, so lines between them are right and holding them would be half an interval off.
_AVERAGING = ("edge", "hwmon")
# How late power may show a load, standard uncertainty: capacitors of the supply let it follow within about 4 ms
# (rectangular, uncorrected: 4 ms / sqrt(3)). An assumption; boards and supplies differ.
_SUPPLY_LAG_S = 0.0023
# A distance between samples beyond so many times the usual one is a gap; polled meters are irregular by nature.
_GAP, _GAP_POLLED = 1.75, 5.0


def samples_are(kind: str) -> str:
    """Return the meaning of a sample of a kind of meter."""
    return AVERAGES if kind in _AVERAGING else MOMENTS


@dataclass(frozen=True, eq=False)
class Power:
    """Power in watts over [begin_s, end_s] of the meter's clock, made of pieces on which it is a straight line.

    Attributes:
        nodes_s: The moments where the pieces meet.
        left_w: Power at the start of each piece.
        right_w: Power at its end.
        missing: 1 for a piece that bridges a gap, else 0.
        step_s: The usual distance of two samples.
        samples_s: The times of the samples.
        samples_w: The power they read.
    """

    nodes_s: Array
    left_w: Array
    right_w: Array
    missing: Array
    step_s: float
    samples_s: Array
    samples_w: Array

    @property
    def begin_s(self) -> float:
        """The first recorded moment."""
        return float(self.nodes_s[0])

    @property
    def end_s(self) -> float:
        """The last recorded moment."""
        return float(self.nodes_s[-1])

    @property
    def lag_s(self) -> float:
        """Standard uncertainty of the delay of power against load: the supply's, and the place within a sample.

        Chips that convert voltage and current one after the other do not report which part of the time each one covers.
        """
        return float(np.hypot(_SUPPLY_LAG_S, self.step_s / 12**0.5))

    def joules_until(self, moments_s: Array) -> Array:
        """Return the integral from the begin to each moment; moments outside are moved to the nearest end."""
        return _integral(self.nodes_s, self.left_w, self.right_w, self._joules, moments_s)

    def mean_w(self, begin_s: float, end_s: float) -> float:
        """Return the mean power between two moments, weighted by time."""
        low, high = self.joules_until(np.array([begin_s, end_s]))
        return float(high - low) / (end_s - begin_s)

    def missing_s(self, begin_s: float, end_s: float) -> float:
        """Return the time without a sample."""
        none = np.concatenate([[0.0], np.cumsum(np.diff(self.nodes_s) * self.missing)])
        low, high = _integral(self.nodes_s, self.missing, self.missing, none, np.array([begin_s, end_s]))
        return float(high - low)

    @cached_property
    def _joules(self) -> Array:
        """The integral from the begin to each node."""
        pieces = np.diff(self.nodes_s) * (self.left_w + self.right_w) / 2
        return np.concatenate([[0.0], np.cumsum(pieces)])

    def coarser(self, step_s: float) -> Power:
        """Return means over stretches of a length, as samples; the same power where it is not sampled finer."""
        if self.step_s >= step_s:
            return self
        grid = np.arange(self.begin_s, self.end_s, step_s)
        means = np.diff(self.joules_until(grid)) / step_s
        return Power(grid, means, means, np.zeros(len(means)), step_s, grid[1:], means)

    def gaps(self, begin_s: float, end_s: float) -> int:
        """Return the number of gaps that reach into a stretch."""
        inside = (self.nodes_s[:-1] < end_s) & (self.nodes_s[1:] > begin_s)
        return int(np.count_nonzero(self.missing[inside]))

    def samples_within(self, begin_s: float, end_s: float) -> Array:
        """Return the samples of a stretch, in watts."""
        low, high = np.searchsorted(self.samples_s, [begin_s, end_s], side="right")
        return self.samples_w[low:high]

    def covers(self, begin_s: float, end_s: float) -> bool:
        """Return whether a stretch lies within the recording."""
        return self.begin_s <= begin_s < end_s <= self.end_s


def power_of(trace: Trace, kind: str, *, polled: bool) -> Power:
    """Return the power of a trace of at least three samples; `polled` allows larger distances between samples."""
    time, watts = trace.time_s, trace.power_w
    steps = np.diff(time)
    step = float(np.median(steps))
    gap = steps > step * (_GAP_POLLED if polled else _GAP)
    averages = samples_are(kind) == AVERAGES
    return (_hold if averages else _join)(time, watts, gap, step)


def effective_rate_hz(watts: Array, seconds: float) -> float:
    """Return the reading's changes per second: polling faster than a meter converts repeats its readings."""
    return changes(watts) / seconds if seconds > 0 else 0.0


def changes(watts: Array) -> int:
    """Return the number of changes of the reading."""
    return int(np.count_nonzero(np.diff(watts)))


def longest_still(watts: Array) -> float:
    """Return the share of the readings in the longest row of equal ones."""
    ends = np.concatenate([[0], np.flatnonzero(np.diff(watts)) + 1, [len(watts)]])
    return float(np.diff(ends).max()) / max(1, len(watts))


def _hold(time: Array, watts: Array, gap: NDArray[np.bool_], step: float) -> Power:
    """Hold each sample since the one before; after a gap for the usual distance only, the gap itself is bridged."""
    # Each sample i > 0 has the piece that ends at it; one after a gap has a second, bridging piece before that.
    held = np.concatenate([watts, (watts[:-1] + watts[1:])[gap] / 2])
    bridges = np.concatenate([np.zeros(len(time)), np.ones(int(gap.sum()))])
    ends = np.concatenate([time, time[1:][gap] - step])
    order = np.argsort(ends, kind="stable")
    level = held[order]
    nodes = np.concatenate([[time[0] - step], ends[order]])
    return Power(nodes, level, level, bridges[order], step, time, watts)


def _join(time: Array, watts: Array, gap: NDArray[np.bool_], step: float) -> Power:
    return Power(time, watts[:-1], watts[1:], gap.astype(np.float64), step, time, watts)


def _integral(nodes: Array, left: Array, right: Array, whole: Array, moments: Array) -> Array:
    """Integrate straight pieces up to each moment; `whole` is the integral up to each node."""
    inside = np.clip(moments, nodes[0], nodes[-1])
    at = np.clip(np.searchsorted(nodes, inside, side="right") - 1, 0, len(left) - 1)
    since = inside - nodes[at]
    slope = (right[at] - left[at]) / (nodes[at + 1] - nodes[at])
    done: Array = whole[at] + since * (left[at] + slope * since / 2)
    return done


def digest(trace: Trace) -> str:
    """Return the SHA-256 of a trace: its times, powers and inputs as little-endian bytes."""
    sha = hashlib.sha256()
    for column in (trace.time_s.astype("<f8"), trace.power_w.astype("<f8"), trace.inputs):
        sha.update(np.ascontiguousarray(column).tobytes())
    return sha.hexdigest()


def drawing(power: Power, alignment: Alignment, points: int = DRAWN_POINTS) -> Drawing:
    """Return the trace for drawing: every sample where they are few, else stretches of equal length."""
    edges = np.linspace(power.samples_s[0], power.samples_s[-1], min(points, len(power.samples_s)) + 1)
    at = np.clip(np.searchsorted(power.samples_s, edges[:-1]), 0, len(power.samples_s) - 1)
    at = np.unique(at)
    counts = np.diff(np.append(at, len(power.samples_s)))
    middle = np.add.reduceat(power.samples_s, at) / counts
    board = (middle - alignment.offset_s) / (1 + alignment.drift)
    return Drawing(
        time_s=_round(board, 4),
        min_w=_round(np.minimum.reduceat(power.samples_w, at), 5),
        max_w=_round(np.maximum.reduceat(power.samples_w, at), 5),
        mean_w=_round(np.add.reduceat(power.samples_w, at) / counts, 5),
    )


def _round(values: Array, places: int) -> tuple[float, ...]:
    return tuple(round(float(each), places) for each in values)
