"""The verdict on the energy as a part of the measurement's, and whether it is of the same inferences as the latency."""

from __future__ import annotations

from collections.abc import Sequence

from edge.measure.energy.analyse import NotMeasured
from edge.measure.energy.value import Energy
from edge.measure.measurement import Validity, Window
from edge.measure.statistics import median

# A meter read on the board itself, or a board that got hot, changes what is measured.
_SAME = 0.10


def energy_verdict(found: Energy | NotMeasured | None, windows: Sequence[Window]) -> Validity:
    """Return the verdict; `windows` are those of the latency with the same threads."""
    if found is None:
        return Validity(valid=True, reasons=(), unknown=())
    if isinstance(found, NotMeasured):
        reasons = tuple(f"energy: not measured: {reason}" for reason in found.reasons)
        return Validity(valid=False, reasons=reasons, unknown=())
    reasons = (*found.reasons, *_otherwise(found, windows))
    return Validity(not reasons, tuple(f"energy: {reason}" for reason in reasons), found.unknown)


def _otherwise(found: Energy, windows: Sequence[Window]) -> tuple[str, ...]:
    """Return a reason if inferences took another time while energy was measured than while latency was."""
    timed = [window.duration_s / window.runs for window in windows if window.runs]
    if not timed:
        return ()
    before_s = median(timed)
    then_s = median([(window.end_s - window.begin_s) / window.runs for window in found.windows])
    change = then_s / before_s - 1 if before_s > 0 else 0.0
    if abs(change) <= _SAME:
        return ()
    return (
        f"an inference took {1e3 * then_s:.3g} ms while energy was measured, {1e3 * before_s:.3g} ms while latency was "
        f"({change:+.0%}), at most {_SAME:.0%} is allowed: heat, or the measuring itself",
    )
