"""Holds the evidence on an energy run, and checks the meter: calibration, rate, range, samples counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edge.measure.conditions import ConditionsSample
from edge.measure.energy.align_clock import most_drift
from edge.measure.energy.value import Alignment, EnergyWindow, Idle, MeterRef, RefusedAlignment
from edge.measure.validity import Answer, Broken, Unknown
from firmware_tools.trace import Trace

Counts = NDArray[np.int64]
_FEWEST_VALUES, _FEWEST_TO_JUDGE = 20, 3
_PILED, _NEAR = 4, 8  # a pile is so many times as high as the so many readings on either side of it
# Full scale of the shunt's voltage (TI SBOS547B and SBOS448G, the INA219 as breakouts and Linux use it), and the most
# current that Nordic states for the PPK2.
_SHUNT_V = {"ina226": 0.08192, "ina219": 0.32}
_PPK2_A = 1.0
_AT_END = 0.9995
_HUNG = 20  # a row of equal readings so many times as long as between two changes, in the window with the most of them


@dataclass(frozen=True, eq=False)
class EnergyEvidence:
    """A run as measured, before it is judged.

    Attributes:
        changes: Number of changes of the reading, in each window.
        still: Share of each window's readings in the longest row of equal ones.
        net_uncertainty_w: Expanded uncertainty of the power net of idle; None where it is unknown.
        alignment_share: Standard uncertainty of the energy by alignment, relative.
    """

    meter: MeterRef
    trace: Trace
    windows: tuple[EnergyWindow, ...]
    in_windows: NDArray[np.bool_]
    changes: tuple[int, ...]
    still: tuple[float, ...]
    idle: Idle | None
    net_uncertainty_w: float | None
    alignment: Alignment
    alignment_share: float
    refused: tuple[RefusedAlignment, ...]
    contradictions: tuple[str, ...]
    trigger_asked: bool
    conditions: tuple[ConditionsSample, ...]
    machine: str | None = None
    incomplete: str | None = None

    @property
    def kind(self) -> str:
        """The kind of meter that made the samples: of a replay, the recorded one."""
        return str(self.meter.settings.get("recorded_kind", self.meter.kind))

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of the meter that made the samples: of a replay, the recorded ones."""
        settings = self.meter.settings
        while isinstance(recorded := settings.get("recorded_settings"), Mapping):
            settings = recorded
        return settings

    @property
    def lengths_s(self) -> list[float]:
        """The lengths of the windows."""
        return [window.end_s - window.begin_s for window in self.windows]


def check_load_shows(evidence: EnergyEvidence, limit: float) -> Answer:
    """Require that the board's deliberate load shows in the power."""
    unseen = [each.reason for each in evidence.refused if each.load_unseen]
    if len(unseen) <= limit:
        return None
    return Broken(f"the meter does not show this board's load: {unseen[0]}; is it in this board's supply?")


def check_calibration(evidence: EnergyEvidence, limit: float) -> Answer:
    """The resistance of an uncalibrated shunt is a guess."""
    settings, name = evidence.settings, evidence.meter.name
    has_shunt = settings.get("shunt_uohm") is not None
    if has_shunt and settings.get("calibrated") is False:
        return Broken(
            f"the meter's shunt was never calibrated, so its resistance is a guess: edge meter calibrate {name} "
            "--shunt-ohm OHM"
        )
    if evidence.kind == "hwmon" and not has_shunt and settings.get("chip") != "ina260":
        return Unknown(f"the resistance of the shunt: the driver of {name} does not state it")
    return None


def check_rate(evidence: EnergyEvidence, limit: float) -> Answer:
    """Require enough changes of the reading in the window with the fewest: repeated readings do not count."""
    fewest, seconds = min(zip(evidence.changes, evidence.lengths_s, strict=True))
    if fewest >= limit:
        return None
    return Broken(f"the readings changed {fewest} times in a window of {seconds:.3g} s, at least {limit:g} are needed")


def check_no_hang(evidence: EnergyEvidence, limit: float) -> Answer:
    """Require that the meter does not hang, repeating a reading that would have changed many times."""
    most = max(evidence.changes)
    for number, share in enumerate(evidence.still, 1):
        if share > limit and share * most > _HUNG:
            return Broken(
                f"the same reading fills {share:.0%} of window {number}, at most {limit:.0%} is allowed where readings "
                "change so often: the meter hung"
            )
    return None


def check_all_counted(evidence: EnergyEvidence, limit: float) -> Answer:
    """Require that no samples are missing, which slows a clock that counts samples; `limit` scales its tolerance."""
    most, drift = limit * most_drift(evidence.kind), evidence.alignment.drift
    if abs(drift) <= most:
        return None
    return Broken(
        f"the meter's clock is {drift:+.2%} off the board's, at most {most:.1%} is allowed: samples are missing that "
        "it does not count"
    )


def check_range(evidence: EnergyEvidence, limit: float) -> Answer:
    """Require readings within the range: those at its end are too low."""
    current = evidence.trace.current_a[evidence.in_windows]
    knows_current = bool(np.isfinite(current).all())
    values = current if knows_current else evidence.trace.power_w[evidence.in_windows]
    full_a = _full_scale_a(evidence) if knows_current else None
    if full_a is not None and (share := float(np.mean(values >= _AT_END * full_a))) > limit:
        return Broken(f"{share:.1%} of the readings in the windows are at the end of the meter's range, {full_a:.3g} A")
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) < _FEWEST_VALUES:
        return None if full_a is not None else _of_few(counts)
    # At the end of a range readings pile up at the highest and nowhere else; a load of few levels piles up at each.
    share, piles = counts[-1] / len(values), _piles(counts)
    if share <= limit or not piles[-1] or (counts[:-1][piles[:-1]] > counts[-1] / _PILED).any():
        return None
    return Broken(
        f"{share:.1%} of the readings in the windows are the highest of all: the meter was at its range's end"
    )


def _piles(counts: Counts) -> NDArray[np.bool_]:
    """Return for each reading whether it is far more frequent than its neighbours."""
    padded = np.pad(counts, _NEAR)
    around = sliding_window_view(padded, 2 * _NEAR + 1).copy()
    around[:, _NEAR] = 0
    piled: NDArray[np.bool_] = counts > _PILED * around.max(axis=1)
    return piled


def _of_few(counts: Counts) -> Answer:
    """Judge a meter of coarse steps: noise lies on both sides of the most frequent reading."""
    if len(counts) >= _FEWEST_TO_JUDGE and int(counts.argmax()) == len(counts) - 1:
        return Broken(
            f"{counts[-1] / counts.sum():.0%} of the readings in the windows are the highest of all, of only "
            f"{len(counts)} different ones: the meter was at its range's end, or is too coarse to tell"
        )
    return Unknown("whether the meter was beyond its range: too few different readings")


def _full_scale_a(evidence: EnergyEvidence) -> float | None:
    if evidence.kind == "ppk2":
        return _PPK2_A
    if evidence.kind not in ("edge", "hwmon"):
        return None
    full_v, shunt_uohm = _SHUNT_V.get(str(evidence.settings.get("chip"))), evidence.settings.get("shunt_uohm")
    if full_v is None or not isinstance(shunt_uohm, int | float) or not shunt_uohm > 0:
        return None
    return full_v / (shunt_uohm / 1e6)
