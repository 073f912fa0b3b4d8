"""Aligns by the trigger line: changes that the meter sampled, matched to the moments the board made them.

The meter samples its input, so a change lies somewhere between two samples: a rectangular distribution as wide as
their distance, standard uncertainty width / sqrt(12) (GUM, 4.3.7). Many changes at random phases average that out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edge.measure.energy.schedule import Mark
from edge.measure.energy.value import Alignment, RefusedAlignment
from firmware_tools.trace import Trace

Array = NDArray[np.float64]
METHOD = "trigger edges"
_FEWEST = 4
_MATCHED = 0.8  # of the board's changes, so many must be found
_RUNNER_UP = 0.9  # another offset that explains so many of the best one's: ambiguous
_MOST_PER_MARK = 20
_QUARTZ = 3e-4  # how far the clocks may differ from the rates tried


@dataclass(frozen=True, eq=False)
class _Edges:
    """Changes of a line: the middle of the possible times, the width of their interval, and the new level."""

    time_s: Array
    width_s: Array
    level: NDArray[np.int64]


def align_edges(trace: Trace, marks: Sequence[Mark], rates: Array, *, lag_s: float) -> Alignment | RefusedAlignment:
    """Fit offset and drift to the changes of the trigger line.

    Args:
        trace: Bit 0 of its inputs is the line.
        marks: The changes that the board made.
        rates: Rates of the meter's clock against the board's, less 1, to try: closely spaced, ascending.
        lag_s: Standard uncertainty of the delay of power against load.
    """
    seen = _meter_edges(trace)
    said = f"the meter saw {len(seen.time_s)} changes of its trigger input, the board made {len(marks)}"
    if len(marks) < _FEWEST:
        return RefusedAlignment(METHOD, f"{said}; at least {_FEWEST} are needed")
    if len(seen.time_s) < _FEWEST:
        return RefusedAlignment(METHOD, f"{said}: is the wire connected?")
    if len(seen.time_s) > _MOST_PER_MARK * len(marks):
        return RefusedAlignment(METHOD, f"{said}: the input floats or picks up noise")
    return _Line(_board_edges(marks), seen).align(rates, lag_s)


def _meter_edges(trace: Trace) -> _Edges:
    levels = (trace.inputs & 1).astype(np.int64)
    after = np.flatnonzero(np.diff(levels)) + 1
    early, late = trace.time_s[after - 1], trace.time_s[after]
    return _Edges((early + late) / 2, late - early, levels[after])


def _board_edges(marks: Sequence[Mark]) -> _Edges:
    return _Edges(
        np.array([mark.time_s for mark in marks]),
        np.array([2 * mark.half_width_s for mark in marks]),
        np.array([mark.level for mark in marks]),
    )


@dataclass(frozen=True)
class _Guess:
    """An offset and a rate, and how many changes they explain."""

    rate: float
    offset_s: float
    matched: int


@dataclass(frozen=True, eq=False)
class _Line:
    """The trigger line as driven by the board and as recorded by the meter."""

    made: _Edges
    seen: _Edges

    @cached_property
    def since_s(self) -> Array:
        """The times of the board's changes, relative to the middle of all."""
        return self.made.time_s - self.reference_s

    @cached_property
    def reference_s(self) -> float:
        """The middle of all changes on the board's clock."""
        return float(self.made.time_s.mean())

    def align(self, rates: Array, lag_s: float) -> Alignment | RefusedAlignment:
        """Match and fit; refuse changes that do not match, or match at two places."""
        spacing = float(np.diff(rates).max()) if len(rates) > 1 else 0.0
        blur = float(2 * np.median(self.seen.width_s) + self.made.width_s.max())
        tolerance = blur + (spacing + _QUARTZ) * float(np.ptp(self.since_s))
        best, second = self.guesses(rates, tolerance)
        if best.matched < max(_FEWEST, _MATCHED * len(self.since_s)):
            made = len(self.since_s)
            return RefusedAlignment(
                METHOD, f"only {best.matched} of the board's {made} changes of the line fit what the meter saw"
            )
        if second >= _RUNNER_UP * best.matched:
            return RefusedAlignment(
                METHOD, f"the changes of the trigger line fit at two places ({best.matched} and {second})"
            )
        offset, drift = best.offset_s - self.reference_s, best.rate
        for reach in (tolerance, blur):
            pairs = self.pairs(offset + drift * self.since_s, reach)
            if len(pairs) < _FEWEST:
                return RefusedAlignment(
                    METHOD, f"only {len(pairs)} changes of the trigger line fit one line through both clocks"
                )
            offset, drift, covariance = self.fit(pairs)
        return self.state_alignment(pairs, offset, drift, covariance, lag_s=lag_s)

    def guesses(self, rates: Array, tolerance: float) -> tuple[_Guess, int]:
        """Return the offset and rate that explain the most changes, and the number that the second best explains."""
        found: list[tuple[int, float, float, float]] = []
        for rate in rates:
            moved = self.since_s * (1 + rate)
            same = self.made.level[:, None] == self.seen.level[None, :]
            offsets = (self.seen.time_s[None, :] - moved[:, None])[same]
            matches, misfits = self.matches(moved, offsets, tolerance)
            found += zip(matches.tolist(), (-misfits).tolist(), offsets.tolist(), [float(rate)] * len(offsets),
                         strict=True)  # fmt: skip
        if not found:
            return _Guess(0.0, 0.0, 0), 0
        matched, _, offset, rate = max(found)
        elsewhere = max((each[0] for each in found if abs(each[2] - offset) > 3 * tolerance), default=0)
        return _Guess(rate, offset, matched), elsewhere

    def matches(self, moved: Array, offsets: Array, tolerance: float) -> tuple[NDArray[np.int64], Array]:
        """Return for each offset the number of changes with a counterpart of the same direction, and their misfit."""
        distance = np.full((len(offsets), len(moved)), np.inf)
        for level in (0, 1):
            times, chosen = self.seen.time_s[self.seen.level == level], self.made.level == level
            if len(times) and chosen.any():
                distance[:, chosen] = _nearest(times, offsets[:, None] + moved[None, chosen])
        near = distance <= tolerance
        matched: NDArray[np.int64] = near.sum(axis=1)
        misfit: Array = np.where(near, np.minimum(distance, tolerance) ** 2, 0.0).sum(axis=1)
        return matched, misfit

    def pairs(self, shift: Array, reach: float) -> NDArray[np.int64]:
        """Return (made, seen) for each change that has a counterpart within reach."""
        found = []
        for index, (time, level) in enumerate(zip(self.made.time_s + shift, self.made.level, strict=True)):
            distance = np.where(self.seen.level == level, np.abs(self.seen.time_s - time), np.inf)
            nearest = int(distance.argmin())
            if distance[nearest] <= reach + self.seen.width_s[nearest] / 2:
                found.append((index, nearest))
        return np.array(found, np.int64).reshape(-1, 2)

    def fit(self, pairs: NDArray[np.int64]) -> tuple[float, float, Array]:
        """Fit by weighted least squares; the covariance grows where residuals are larger than the widths explain."""
        ours, theirs = pairs.T
        y = self.seen.time_s[theirs] - self.made.time_s[ours]
        weight = 12 / (self.seen.width_s[theirs] ** 2 + self.made.width_s[ours] ** 2)
        design = np.stack([np.ones(len(ours)), self.since_s[ours]], axis=1)
        covariance = np.linalg.inv((design * weight[:, None]).T @ design)
        middle = float(y.mean())  # clocks may differ by days; the fit is of what is left
        offset, drift = covariance @ (design * weight[:, None]).T @ (y - middle)
        left = y - middle - design @ np.array([offset, drift])
        excess = float((weight * left**2).sum()) / max(1, len(ours) - 2)
        return float(offset) + middle, float(drift), covariance * max(1.0, excess)

    def possible_s(self, pairs: NDArray[np.int64], shift: Array) -> float:
        """Return the distance that all changes could move together, each staying between its two samples.

        Changes at random phases leave next to nothing; changes in step with the samples leave a whole sample, which no
        number of them averages out.
        """
        ours, theirs = pairs.T
        off = self.seen.time_s[theirs] - self.made.time_s[ours] - shift[ours]
        half = self.seen.width_s[theirs] / 2
        return max(0.0, float((off + half).min() - (off - half).max()))

    def state_alignment(
        self, pairs: NDArray[np.int64], offset: float, drift: float, covariance: Array, *, lag_s: float
    ) -> Alignment:
        """Return the alignment with its uncertainty at the first or the last change, whichever is larger."""
        ends = (np.array([1.0, self.since_s[0]]), np.array([1.0, self.since_s[-1]]))
        common_s = self.possible_s(pairs, offset + drift * self.since_s) / 12**0.5
        of_the_board_s = float(self.made.width_s.mean()) / 12**0.5
        fitted_s = max(float(np.sqrt(end @ covariance @ end)) for end in ends)
        uncertainty_s = float(np.hypot(max(fitted_s, common_s), of_the_board_s))
        return Alignment(
            method=METHOD,
            offset_s=offset,
            drift=drift,
            reference_s=self.reference_s,
            uncertainty_s=uncertainty_s,
            drift_uncertainty=float(np.sqrt(covariance[1, 1])),
            power_uncertainty_s=float(np.hypot(uncertainty_s, lag_s)),
            detail=f"{len(pairs)} of {len(self.since_s)} changes matched, each seen within "
            f"{1e3 * float(np.median(self.seen.width_s)):.3g} ms",
        )


def _nearest(times: Array, wanted: Array) -> Array:
    at = np.searchsorted(times, wanted)
    low, high = times[np.clip(at - 1, 0, len(times) - 1)], times[np.clip(at, 0, len(times) - 1)]
    nearest: Array = np.minimum(np.abs(wanted - low), np.abs(wanted - high))
    return nearest
