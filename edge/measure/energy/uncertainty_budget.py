"""Draws up the uncertainty budget of an energy per inference, in the sense of the GUM (JCGM 100:2008).

Each component is a standard uncertainty of the energy of one inference, gross and net of the idle board; they are
independent of each other and add in squares. Components common to all windows (gain, offset, alignment, idle) do not
decrease with their number, so they enter once, after the median, never window by window. The gain is common to gross,
net and idle; an offset of the meter drops out of the net energy.

The coverage factor makes an interval that holds the value in 95.45 % of cases: Student's distribution for the effective
degrees of freedom by the Welch-Satterthwaite formula (GUM, annex G.4 and the column for 95.45 % of table G.2). Between
two entries the smaller one counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from edge.measure.energy.power import Power
from edge.measure.energy.schedule import Runs
from edge.measure.energy.value import Alignment, Component, EnergyWindow, Quantity
from edge.measure.statistics import median
from firmware_tools.trace import Trace

_FACTORS = (
    (1, 13.97), (2, 4.53), (3, 3.31), (4, 2.87), (5, 2.65), (6, 2.52), (7, 2.43), (8, 2.37), (9, 2.32), (10, 2.28),
    (11, 2.25), (12, 2.23), (13, 2.21), (14, 2.20), (15, 2.18), (16, 2.17), (17, 2.16), (18, 2.15), (19, 2.14),
    (20, 2.13), (25, 2.11), (30, 2.09), (35, 2.07), (40, 2.06), (45, 2.06), (50, 2.05), (100, 2.025),
)  # fmt: skip
_MANY = 1000.0
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Basis:
    """The inputs of the budget."""

    trace: Trace
    power: Power
    alignment: Alignment
    runs: tuple[Runs, ...]
    windows: tuple[EnergyWindow, ...]
    gain: float
    offset_w: float
    idle_uncertainty_w: float | None

    @property
    def seconds_per_inference(self) -> float:
        """Median over the windows of their length divided by their inferences."""
        return median([each.seconds / each.count for each in self.runs])


def components(basis: Basis) -> tuple[Component, ...]:
    """Return the lines of the budget that apply."""
    gross = [each.gross_j / each.runs for each in basis.windows]
    net = [each.net_j / each.runs for each in basis.windows if each.net_j is not None]
    has_net, seconds = bool(net), basis.seconds_per_inference

    def line(name: str, gross_j: float, net_j: float, text: str, *, kind: str = "B", freedom: int | None = None
             ) -> Component:  # fmt: skip
        return Component(name, kind, gross_j, net_j if has_net else None, freedom, text)

    shifted, sampled = _shift_j(basis), _sampling_j(basis)
    method, moved_ms = basis.alignment.method, 1e3 * basis.alignment.shown_uncertainty_s
    lines = [
        line("meter gain", basis.gain * abs(median(gross)), basis.gain * abs(median(net)) if net else 0.0,
             f"{100 * basis.gain:.2g} % of the energy, common to all windows and to idle"),
        line("meter offset", basis.offset_w * seconds, 0.0,
             f"{1e3 * basis.offset_w:.2g} mW over an inference; drops out of the net energy"),
        line("alignment", shifted, shifted,
             f"either end of a window moved by {moved_ms:.2g} ms: {method}, and the power's delay"),
        line("sampling", sampled, sampled, "quantisation, partial samples at the windows' ends, gaps"),
    ]  # fmt: skip
    if len(gross) > 1:
        lines.append(
            line("repeatability", _of_median(gross), _of_median(net) if net else 0.0,
                 f"scatter of {len(gross)} windows, for their median", kind="A", freedom=len(gross) - 1)
        )  # fmt: skip
    if basis.idle_uncertainty_w is not None:
        text = f"{1e3 * basis.idle_uncertainty_w:.2g} mW: its change from before to after, and noise"
        lines.append(line("idle power", 0.0, basis.idle_uncertainty_w * seconds, text))
    return tuple(lines)


def quantity(value: float, parts: Sequence[tuple[float, float | None]], *, repeated: bool) -> Quantity:
    """Combine standard uncertainties (with their degrees of freedom) into one value's."""
    if not repeated:
        return Quantity(value, None, None, None, None)
    standard = math.sqrt(sum(u**2 for u, _ in parts))
    freedom = effective_freedom(parts)
    factor = coverage_factor(freedom)
    return Quantity(value, standard, factor * standard, factor, freedom)


def _of_median(values: Sequence[float]) -> float:
    """Return the standard uncertainty of the median of normal values.

    The variance of the median of n is close to pi / (2 (n - 1) + pi) of one value's: within 2 % of the exact order
    statistics for odd n, a little too large for even n.
    """
    count = len(values)
    return float(np.std(values, ddof=1)) * math.sqrt(math.pi / (2 * (count - 1) + math.pi))


def _shift_j(basis: Basis) -> float:
    """Return the change of energy when either end is wrong by its standard uncertainty, in all four ways."""
    u, changes = basis.alignment.shown_uncertainty_s, []
    for runs, window in zip(basis.runs, basis.windows, strict=True):
        begin, end = basis.alignment.meter_s(runs.begin_s), basis.alignment.meter_s(runs.end_s)
        for first, last in product((-u, u), repeat=2):
            if end + last > begin + first:
                mean = basis.power.mean_w(begin + first, end + last)
                changes.append((mean - window.mean_w) * runs.seconds / runs.count)
    return math.sqrt(sum(each**2 for each in changes) / len(changes)) if changes else 0.0


def _sampling_j(basis: Basis) -> float:
    """Return the uncertainty from the samples' steps in value and in time, the median over the windows."""
    found = []
    for runs, window in zip(basis.runs, basis.windows, strict=True):
        begin, end = basis.alignment.meter_s(runs.begin_s), basis.alignment.meter_s(runs.end_s)
        chosen = slice(*np.searchsorted(basis.power.samples_s, [begin, end]))
        scatter = float(np.std(basis.power.samples_w[chosen])) if chosen.stop - chosen.start > 1 else 0.0
        gaps_j = scatter * window.missing_s / math.sqrt(max(1, basis.power.gaps(begin, end)))
        ends_j = math.hypot(*(_step_w(basis.power, at) * basis.power.step_s / math.sqrt(30) for at in (begin, end)))
        quantised_j = _quantisation_w(basis.trace, chosen) * runs.seconds
        found.append(math.sqrt(gaps_j**2 + ends_j**2 + quantised_j**2) / runs.count)
    return median(found)


def _step_w(power: Power, at_s: float) -> float:
    """Return the difference of the samples around a moment: where the sample that holds it is cut is unknown.

    A step at a random place within a sample that is cut in proportion leaves an error of step * length * x * (1 - x),
    whose root mean square is step * length / sqrt(30).
    """
    middle = int(np.searchsorted(power.samples_s, at_s))
    near = power.samples_w[max(0, middle - 1) : middle + 2]
    return float(np.ptp(near)) if len(near) else 0.0


def _quantisation_w(trace: Trace, chosen: slice) -> float:
    """Return the standard uncertainty of mean power by the steps of current and voltage, or of power itself.

    A step's error is rectangular (step / sqrt(12)); readings that change carry independent ones, repeated readings
    the same one over and over.
    """
    current, supply = trace.current_a[chosen], trace.supply_v[chosen]
    if not len(current) or not np.isfinite(current).all() or not np.isfinite(supply).all():
        return _step_error(trace.power_w[chosen])
    return math.hypot(
        _step_error(current) * abs(float(np.mean(supply))), _step_error(supply) * abs(float(np.mean(current)))
    )


def _step_error(values: Array) -> float:
    steps = np.diff(np.unique(values))
    real = steps[steps > 1e-9 * float(np.abs(values).max(initial=0.0))]
    changes = int(np.count_nonzero(np.diff(values)))
    return float(real.min()) / math.sqrt(12 * max(1, changes)) if len(real) else 0.0


def effective_freedom(parts: Iterable[tuple[float, float | None]]) -> float | None:
    """Return the effective degrees of freedom of a sum.

    Args:
        parts: Standard uncertainty and degrees of freedom of each component, None for infinite ones.

    Returns:
        None for more than 1000, where the normal distribution holds.
    """
    known = list(parts)
    total = sum(u**2 for u, _ in known) ** 2
    limited = sum(u**4 / freedom for u, freedom in known if freedom is not None and u > 0)
    freedom = total / limited if limited > 0 else math.inf
    return None if freedom > _MANY else freedom


def coverage_factor(freedom: float | None) -> float:
    """Return the factor for 95.45 %."""
    if freedom is None:
        return 2.0
    fitting = [factor for least, factor in _FACTORS if least <= freedom]
    return fitting[-1] if fitting else _FACTORS[0][1]
