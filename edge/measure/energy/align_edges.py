"""Alignment by the trigger line: changes seen by the meter, matched to the moments the board made them.

The meter samples its input, so a change lies somewhere between two samples: a rectangular distribution as wide as
their distance, standard uncertainty width / sqrt(12) (GUM, 4.3.7). Many changes at random phases average that out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.measure.energy.schedule import Mark
from edge.measure.energy.value import Alignment, Refused
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
    """Changes of a line: when (the middle of what is possible), the whole width of that, and to which level."""

    time_s: Array
    width_s: Array
    level: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Guess:
    rate: float
    offset_s: float
    matched: int


def align_edges(trace: Trace, marks: Sequence[Mark], rates: Array, *, lag_s: float) -> Alignment | Refused:
    """Fit offset and drift to the changes of the trigger line.

    Args:
        trace: Bit 0 of its inputs is the line.
        marks: What the board did to it.
        rates: Rates of the meter's clock against the board's, less 1, to try: closely spaced, ascending.
        lag_s: Standard uncertainty of the delay of power against load.
    """
    if len(marks) < _FEWEST:
        return Refused(
            METHOD, f"the board made {len(marks)} changes of the trigger line, at least {_FEWEST} are needed"
        )
    seen, made = _seen(trace), _made(marks)
    if len(seen.time_s) < _FEWEST:
        return Refused(METHOD, f"the meter saw {len(seen.time_s)} changes of its trigger input, the board made "
                       f"{len(marks)}: is the wire connected?")  # fmt: skip
    if len(seen.time_s) > _MOST_PER_MARK * len(marks):
        return Refused(METHOD, f"the meter saw {len(seen.time_s)} changes of its trigger input, the board made "
                       f"{len(marks)}: the input floats or picks up noise")  # fmt: skip
    reference = float(made.time_s.mean())
    tolerance = _tolerance(made, seen, rates)
    best, second = _guesses(made, seen, rates, tolerance, reference)
    if best.matched < max(_FEWEST, _MATCHED * len(marks)):
        return Refused(METHOD, f"only {best.matched} of the board's {len(marks)} changes of the trigger line fit what "
                       "the meter saw")  # fmt: skip
    if second >= _RUNNER_UP * best.matched:
        return Refused(METHOD, f"the changes of the trigger line fit at two places ({best.matched} and {second})")
    return _fitted(made, seen, best, tolerance, reference, lag_s)


def _seen(trace: Trace) -> _Edges:
    levels = (trace.inputs & 1).astype(np.int64)
    after = np.flatnonzero(np.diff(levels)) + 1
    early, late = trace.time_s[after - 1], trace.time_s[after]
    return _Edges((early + late) / 2, late - early, levels[after])


def _made(marks: Sequence[Mark]) -> _Edges:
    return _Edges(
        np.array([mark.time_s for mark in marks]),
        np.array([2 * mark.half_width_s for mark in marks]),
        np.array([mark.level for mark in marks]),
    )


def _tolerance(made: _Edges, seen: _Edges, rates: Array) -> float:
    spacing = float(np.diff(rates).max()) if len(rates) > 1 else 0.0
    span = float(np.ptp(made.time_s))
    return float(2 * np.median(seen.width_s) + made.width_s.max() + (spacing + _QUARTZ) * span)


def _guesses(made: _Edges, seen: _Edges, rates: Array, tolerance: float, reference: float) -> tuple[_Guess, int]:
    """Return the offset and rate that explain the most changes, and how many the best elsewhere explains."""
    found: list[tuple[int, float, float, float]] = []
    for rate in rates:
        moved = reference + (made.time_s - reference) * (1 + rate)
        offsets = (seen.time_s[None, :] - moved[:, None])[made.level[:, None] == seen.level[None, :]]
        matches, misfits = _matches(moved, made.level, seen, offsets, tolerance)
        found += zip(matches.tolist(), (-misfits).tolist(), offsets.tolist(), [float(rate)] * len(offsets), strict=True)
    if not found:
        return _Guess(0.0, 0.0, 0), 0
    matched, _, offset, rate = max(found)
    elsewhere = max((each[0] for each in found if abs(each[2] - offset) > 3 * tolerance), default=0)
    return _Guess(rate, offset, matched), elsewhere


def _matches(
    moved: Array, levels: NDArray[np.int64], seen: _Edges, offsets: Array, tolerance: float
) -> tuple[NDArray[np.int64], Array]:
    """Return for each offset how many changes have a counterpart of the same direction, and their misfit."""
    distance = np.full((len(offsets), len(moved)), np.inf)
    for level in (0, 1):
        times = seen.time_s[seen.level == level]
        chosen = levels == level
        if len(times) and chosen.any():
            distance[:, chosen] = _nearest(times, offsets[:, None] + moved[None, chosen])
    near = distance <= tolerance
    matched: NDArray[np.int64] = near.sum(axis=1)
    misfit: Array = np.where(near, np.minimum(distance, tolerance) ** 2, 0.0).sum(axis=1)
    return matched, misfit


def _nearest(times: Array, wanted: Array) -> Array:
    at = np.searchsorted(times, wanted)
    low, high = times[np.clip(at - 1, 0, len(times) - 1)], times[np.clip(at, 0, len(times) - 1)]
    nearest: Array = np.minimum(np.abs(wanted - low), np.abs(wanted - high))
    return nearest


def _fitted(
    made: _Edges, seen: _Edges, guess: _Guess, tolerance: float, reference: float, lag_s: float
) -> Alignment | Refused:
    offset, drift = guess.offset_s, guess.rate
    pairs: list[tuple[int, int]] = []
    covariance = np.zeros((2, 2))
    for reach in (tolerance, tolerance / 2):
        pairs = _pairs(made, seen, offset, drift, reference, reach)
        if len(pairs) < _FEWEST:
            return Refused(METHOD, f"only {len(pairs)} changes of the trigger line fit one line through both clocks")
        offset, drift, covariance = _line(made, seen, pairs, reference)
    ends = np.array([made.time_s.min(), made.time_s.max()]) - reference
    variances = [np.array([1, x]) @ covariance @ np.array([1, x]) for x in ends]
    of_the_board = float(made.width_s.mean()) / 12**0.5
    possible = _possible_s(made, seen, pairs, offset + drift * (made.time_s - reference))
    uncertainty_s = float(np.sqrt(max(*variances, possible**2 / 12) + of_the_board**2))
    return Alignment(
        method=METHOD,
        offset_s=offset,
        drift=drift,
        reference_s=reference,
        uncertainty_s=uncertainty_s,
        drift_uncertainty=float(np.sqrt(covariance[1, 1])),
        power_uncertainty_s=float(np.hypot(uncertainty_s, lag_s)),
        detail=f"{len(pairs)} of {len(made.time_s)} changes matched, each seen within "
        f"{1e3 * float(np.median(seen.width_s)):.3g} ms",
    )


def _pairs(
    made: _Edges, seen: _Edges, offset: float, drift: float, reference: float, reach: float
) -> list[tuple[int, int]]:
    expected = made.time_s + offset + drift * (made.time_s - reference)
    pairs = []
    for index, (time, level) in enumerate(zip(expected, made.level, strict=True)):
        distance = np.where(seen.level == level, np.abs(seen.time_s - time), np.inf)
        nearest = int(distance.argmin())
        if distance[nearest] <= reach + seen.width_s[nearest] / 2:
            pairs.append((index, nearest))
    return pairs


def _possible_s(made: _Edges, seen: _Edges, pairs: Sequence[tuple[int, int]], shift: Array) -> float:
    """Return how far all changes could move together, each staying between its two samples.

    Changes at random phases leave next to nothing; changes in step with the samples leave a whole sample, which no
    number of them averages out.
    """
    ours, theirs = (np.array(each) for each in zip(*pairs, strict=True))
    off = seen.time_s[theirs] - made.time_s[ours] - shift[ours]
    half = seen.width_s[theirs] / 2
    return max(0.0, float((off + half).min() - (off - half).max()))


def _line(
    made: _Edges, seen: _Edges, pairs: Sequence[tuple[int, int]], reference: float
) -> tuple[float, float, NDArray[np.float64]]:
    """Fit by weighted least squares; the covariance grows where residuals are larger than the widths explain."""
    ours, theirs = (np.array(each) for each in zip(*pairs, strict=True))
    x = made.time_s[ours] - reference
    y = seen.time_s[theirs] - made.time_s[ours]
    weight = 12 / (seen.width_s[theirs] ** 2 + made.width_s[ours] ** 2)
    design = np.stack([np.ones_like(x), x], axis=1)
    covariance = np.linalg.inv((design * weight[:, None]).T @ design)
    middle = float(y.mean())  # clocks may differ by days; the fit is of what is left
    offset, drift = covariance @ (design * weight[:, None]).T @ (y - middle)
    left = y - middle - design @ np.array([offset, drift])
    excess = float((weight * left**2).sum()) / max(1, len(x) - 2)
    return float(offset) + middle, float(drift), covariance * max(1.0, excess)
