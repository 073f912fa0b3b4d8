"""Which variants are worth having, for a report: accuracies also from artifact files, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edge.measure.fronts import Front, Point, Standing, Variant, front_of, groups
from edge.measure.measurement import RecordedAccuracy
from edge.report.entries import Entry

__all__ = ["Front", "Point", "Standing", "fronts", "wilson"]
_Z95 = 1.959964


def fronts(entries: Sequence[Entry]) -> tuple[Front, ...]:
    """Find the Pareto front of every group of measurements that may be compared: never across devices."""
    return tuple(map(front_of, groups(Variant(entry.measurement, entry.accuracy) for entry in entries)))


def wilson(accuracy: RecordedAccuracy) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a counted accuracy, as shares of 1 (Wilson 1927, JASA 22)."""
    n, share = accuracy.of, accuracy.correct / accuracy.of
    centre = (share + _Z95**2 / (2 * n)) / (1 + _Z95**2 / n)
    half = _Z95 * math.sqrt(share * (1 - share) / n + _Z95**2 / (4 * n * n)) / (1 + _Z95**2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)
