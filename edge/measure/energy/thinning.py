"""A trace told apart by its digest, and made small enough to be drawn."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from edge.measure.energy.power import Power
from edge.measure.energy.value import Alignment, Drawing
from firmware_tools.trace import Trace

Array = NDArray[np.float64]
DRAWN_POINTS = 2000


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
        time_s=_rounded(board, 4),
        min_w=_rounded(np.minimum.reduceat(power.samples_w, at), 5),
        max_w=_rounded(np.maximum.reduceat(power.samples_w, at), 5),
        mean_w=_rounded(np.add.reduceat(power.samples_w, at) / counts, 5),
    )


def _rounded(values: Array, places: int) -> tuple[float, ...]:
    return tuple(round(float(each), places) for each in values)
