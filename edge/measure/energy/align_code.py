"""Aligns by a load code: a known pattern of busy and idle processors, found again in the power.

The agent states when each chip of the pattern really began and ended; a sample of the meter averages the pattern over
the time since the sample before. So the pattern as the meter must have seen it is known exactly for every assumed
offset, far finer than the distance of two samples. A coarse search correlates both codes at once with the whole trace;
then each code is fitted by least squares (level, slope, height and offset), and the curvature of the residuals gives
the uncertainty. Two codes, one before and one after the windows, give offset and drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.measure.energy.power import Power
from edge.measure.energy.schedule import Code, Stretch
from edge.measure.energy.value import Alignment, RefusedAlignment

Array = NDArray[np.float64]
METHOD = "load code"
_CORRELATED = 0.7
_RUNNER_UP = 0.9
_PER_CHIP = 6  # points of the coarse search per chip
_FINEST = 100  # samples per chip that the fit looks at: more do not make it surer
_FEWEST_SAMPLES = 13  # of a code: one per chip
_QUARTZ = 5e-4  # how far the clocks may differ from the rates tried


@dataclass(frozen=True)
class _Place:
    """The position of one code: its shift on the meter's clock, with its standard uncertainty."""

    board_s: float
    shift_s: float
    uncertainty_s: float
    correlation: float


def align_code(power: Power, codes: Sequence[Code], chip_s: float, rates: Array) -> Alignment | RefusedAlignment:
    """Find the codes in the trace.

    Args:
        power: The whole recording.
        codes: One before and one after the windows.
        chip_s: Nominal length of a chip.
        rates: Rates of the meter's clock against the board's, less 1, to try.
    """
    if len(codes) != 2:
        return RefusedAlignment(METHOD, f"the board ran {len(codes)} codes, two are needed")
    if power.step_s > chip_s:
        return RefusedAlignment(METHOD, f"a chip of {chip_s:.3g} s is shorter than the distance of two samples, "
                       f"{power.step_s:.3g} s")  # fmt: skip
    seen = power.coarser(chip_s / _FINEST)
    reference = (codes[0].stretch.begin_s + codes[1].stretch.end_s) / 2
    coarse = _coarse(seen, codes, chip_s, rates, reference)
    if isinstance(coarse, RefusedAlignment):
        return coarse
    shift, rate, grid_s = coarse
    places = []
    for code in codes:
        middle = (code.stretch.begin_s + code.stretch.end_s) / 2
        place = _fine(seen, code, shift + rate * (middle - reference), max(grid_s, 0.4 * chip_s))
        if isinstance(place, RefusedAlignment):
            return place
        places.append(place)
    return _join(places, rates, reference, power.lag_s)


def _join(places: Sequence[_Place], rates: Array, reference: float, lag_s: float) -> Alignment | RefusedAlignment:
    first, last = places
    apart = last.board_s - first.board_s
    drift = (last.shift_s - first.shift_s) / apart
    of_drift = float(np.hypot(first.uncertainty_s, last.uncertainty_s)) / apart
    spacing = float(np.diff(rates).max()) if len(rates) > 1 else 0.0
    slack = spacing + _QUARTZ + 4 * of_drift
    if not rates[0] - slack <= drift <= rates[-1] + slack:
        return RefusedAlignment(METHOD, f"the two codes would mean that the clocks differ by {drift * 1e6:.0f} ppm")
    weight = (reference - first.board_s) / apart
    return Alignment(
        method=METHOD,
        offset_s=first.shift_s + weight * (last.shift_s - first.shift_s),
        drift=drift,
        reference_s=reference,
        # Against the board's clock, the power may be late at both codes alike; and at the windows just so.
        uncertainty_s=float(np.hypot(max(first.uncertainty_s, last.uncertainty_s), lag_s)),
        drift_uncertainty=of_drift,
        power_uncertainty_s=max(first.uncertainty_s, last.uncertainty_s),
        detail=f"correlation {first.correlation:.3f} before and {last.correlation:.3f} after the windows",
    )


def _coarse(
    power: Power, codes: Sequence[Code], chip_s: float, rates: Array, reference: float
) -> tuple[float, float, float] | RefusedAlignment:
    """Return the shift, the rate and the grid's step where both codes correlate best with the trace."""
    step = max(power.step_s, chip_s / _PER_CHIP)
    grid = np.arange(power.begin_s, power.end_s, step)
    watts = np.diff(power.joules_until(grid)) / step
    found: list[tuple[float, float, float]] = []
    best_curve: Array = np.empty(0)
    for rate in rates:
        begin = _move(codes[0].stretch.begin_s, rate, reference)
        shape, mask = _pattern(codes, rate, reference, step)
        curve = _correlation(watts - watts.mean(), shape, mask)
        if not len(curve):
            return RefusedAlignment(METHOD, "the recording is shorter than the run")
        at = int(curve.argmax())
        if not found or curve[at] > max(found)[0]:
            best_curve = curve
        found.append((float(curve[at]), float(grid[at]) - begin, float(rate)))
    height, shift, rate = max(found)
    if height < _CORRELATED:
        return RefusedAlignment(METHOD, f"the load code does not show in the power: correlation {height:.2f}, at least "
                       f"{_CORRELATED} is needed", load_unseen=True)  # fmt: skip
    away = np.abs(np.arange(len(best_curve)) - int(best_curve.argmax())) * step > 1.5 * chip_s
    second = float(best_curve[away].max()) if away.any() else 0.0
    if second >= _RUNNER_UP * height:
        said = f"the load code fits the power at two places, correlation {height:.2f} and {second:.2f}"
        return RefusedAlignment(METHOD, said, load_unseen=True)
    return shift, rate, step


def _move(board_s: float, rate: float, reference: float) -> float:
    return reference + (board_s - reference) * (1 + rate)


def _pattern(codes: Sequence[Code], rate: float, reference: float, step: float) -> tuple[Array, Array]:
    """Return the share of each grid cell that was busy, and 1 for the cells that belong to a code."""
    begin = _move(codes[0].stretch.begin_s, rate, reference)
    end = _move(codes[-1].stretch.end_s, rate, reference)
    count = int((end - begin) / step)
    edges: Array = begin + step * np.arange(count + 1.0)
    busy = [Stretch(_move(each.begin_s, rate, reference), _move(each.end_s, rate, reference))
            for code in codes for each in code.busy]  # fmt: skip
    whole = [Stretch(_move(code.stretch.begin_s, rate, reference), _move(code.stretch.end_s, rate, reference))
             for code in codes]  # fmt: skip
    shape = np.diff(_busy_until(busy, edges)) / step
    mask = (np.diff(_busy_until(whole, edges)) / step > 0.999).astype(np.float64)
    return shape * mask, mask


def _correlation(watts: Array, shape: Array, mask: Array) -> Array:
    """Return Pearson's correlation of the masked pattern with the trace at every place it fits whole."""
    count = len(watts) - len(shape) + 1
    if count < 1:
        return np.empty(0)
    cells = float(mask.sum())
    centred = shape - mask * (float(shape.sum()) / cells)
    size = 1 << (len(watts) + len(shape)).bit_length()

    def slid(pattern: Array, values: Array) -> Array:
        product = np.fft.irfft(np.fft.rfft(values, size) * np.conj(np.fft.rfft(pattern, size)), size)
        return product[:count]

    total, squares = slid(mask, watts), slid(mask, watts**2)
    spread = np.maximum(squares - total**2 / cells, 1e-12 * max(float(squares.max()), 1e-30))
    correlation: Array = slid(centred, watts) / np.sqrt(float((centred**2).sum()) * spread)
    return correlation


def _fine(power: Power, code: Code, shift: float, reach: float) -> _Place | RefusedAlignment:
    """Fit one code by least squares around a coarse shift."""
    low, high = np.searchsorted(power.samples_s, [code.stretch.begin_s + shift, code.stretch.end_s + shift])
    ends, watts = power.samples_s[low:high], power.samples_w[low:high]
    if len(ends) < _FEWEST_SAMPLES or low == 0:
        return RefusedAlignment(
            METHOD, f"only {len(ends)} samples lie within a code, at least {_FEWEST_SAMPLES} are needed"
        )
    begins = np.minimum(power.samples_s[low - 1 : high - 1], ends - 0.2 * power.step_s)
    begins = np.maximum(begins, ends - 1.5 * power.step_s)
    middle = (code.stretch.begin_s + code.stretch.end_s) / 2
    fit = _Fit(code.busy, begins, ends, watts)
    step = power.step_s / 4
    for width in (reach, power.step_s):
        shifts = shift + np.arange(-width, width + step / 2, step)
        left = fit.residuals(shifts)
        shift = _vertex(shifts, left)
        step /= 8
    return fit.place(middle, shift, power.step_s, code.blur_s)


@dataclass(frozen=True, eq=False)
class _Fit:
    """Least squares of the power on the pattern, a level and a slope."""

    busy: Sequence[Stretch]
    begins: Array
    ends: Array
    watts: Array

    def seen(self, shifts: Array) -> Array:
        """Return the pattern as each sample averages it, for each shift (rows), less its level and slope."""
        done = _busy_until(self.busy, self.ends[None, :] - shifts[:, None])
        since = _busy_until(self.busy, self.begins[None, :] - shifts[:, None])
        return self.bare((done - since) / (self.ends - self.begins))

    def bare(self, values: Array) -> Array:
        """Return values less their mean and slope over time."""
        time = self.ends - self.ends.mean()
        level = values.mean(axis=-1, keepdims=True)
        slope = (values @ time)[..., None] / float(time @ time) * time
        bare: Array = values - level - slope
        return bare

    def residuals(self, shifts: Array) -> Array:
        """Return the sum of squared residuals for each shift; a pattern upside down fits not at all."""
        power, seen = self.bare(self.watts), self.seen(shifts)
        height = seen @ power
        explained = np.maximum(height, 0.0) ** 2 / np.maximum((seen**2).sum(axis=1), 1e-30)
        left: Array = float(power @ power) - explained
        return left

    def place(self, board_s: float, shift: float, step: float, blur_s: float) -> _Place | RefusedAlignment:
        """Return the place with its uncertainty, or refuse a pattern that does not explain the power."""
        near = shift + np.array([-step / 2, 0.0, step / 2])
        before, at, after = self.seen(near)
        power = self.bare(self.watts)
        height = float(at @ power) / max(float(at @ at), 1e-30)
        left = power - height * at
        correlation = float(np.sqrt(max(0.0, 1 - float(left @ left) / max(float(power @ power), 1e-30))))
        if height <= 0 or correlation < _CORRELATED:
            said = f"a load code does not show in the power: correlation {correlation:.2f}"
            return RefusedAlignment(METHOD, f"{said}, at least {_CORRELATED} is needed", load_unseen=True)
        slope = height * (after - before) / step
        variance = float(left @ left) / max(1, len(left) - 4) * _inflation(left) / max(float(slope @ slope), 1e-30)
        return _Place(board_s, shift, float(np.sqrt(variance + blur_s**2 / 12)), correlation)


def _inflation(left: Array) -> float:
    """Return the factor by which correlated neighbours reduce the number of independent residuals (AR(1))."""
    alike = float(left[:-1] @ left[1:]) / max(float(left @ left), 1e-30)
    alike = min(max(alike, 0.0), 0.95)
    return (1 + alike) / (1 - alike)


def _vertex(x: Array, y: Array) -> float:
    """Return the lowest point of a parabola through the lowest value and its neighbours."""
    at = int(np.clip(y.argmin(), 1, len(y) - 2))
    a, b, c = y[at - 1 : at + 2]
    bend = a - 2 * b + c
    return float(x[at] + (0.5 * (a - c) / bend * (x[at] - x[at - 1]) if bend > 0 else 0.0))


def _busy_until(busy: Sequence[Stretch], moments: Array) -> Array:
    """Return the seconds that the processors were busy before each moment."""
    nodes = np.array([moment for each in busy for moment in (each.begin_s, each.end_s)])
    done = np.repeat(np.cumsum([each.seconds for each in busy]), 2)
    done[::2] -= np.array([each.seconds for each in busy])
    until: Array = np.interp(moments, nodes, done)
    return until
