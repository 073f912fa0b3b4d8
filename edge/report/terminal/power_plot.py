"""Power over time in characters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edge.report.formatting import watts
from firmware_tools.trace import Trace

_BLOCKS = " \u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
_PLAIN = " .:-=+*%#"
_LABEL = 10


class Buckets:
    """Mean power in pieces of time of the same length; only the newest `count` are kept."""

    def __init__(self, width_s: float, count: int) -> None:
        self._width_s, self._count = width_s, count
        self._sums: dict[int, tuple[float, int]] = {}

    def add(self, trace: Trace) -> None:
        """Take the samples that have come."""
        if not len(trace):
            return
        numbers = np.floor(trace.time_s / self._width_s).astype(np.int64)
        for number in np.unique(numbers).tolist():
            values = trace.power_w[numbers == number]
            total, samples = self._sums.get(number, (0.0, 0))
            self._sums[number] = (total + float(values.sum()), samples + len(values))
        newest = max(self._sums)
        self._sums = {number: each for number, each in self._sums.items() if number > newest - self._count}

    def means(self) -> list[float]:
        """Return the mean of each piece, NaN where nothing came; oldest first."""
        if not self._sums:
            return []
        first, last = min(self._sums), max(self._sums)
        pieces = [self._sums.get(number, (math.nan, 1)) for number in range(first, last + 1)]
        return [total / samples for total, samples in pieces]


def draw(means: Sequence[float], *, columns: int, rows: int, is_plain: bool = False) -> list[str]:
    """Return lines of at most so many columns: a scale from 0 to the largest mean, and a column for each value."""
    known = [each for each in means if math.isfinite(each)]
    top = max(known, default=0.0)
    shown = list(means)[-(columns - _LABEL - 1) :]
    blocks = _PLAIN if is_plain else _BLOCKS
    lines = []
    for row in range(rows, 0, -1):
        label = watts(top) if row == rows else watts(top / 2) if 2 * row == rows else "0 W" if row == 1 else ""
        lines.append(f"{label:>{_LABEL}} " + "".join(_cell(each, top, row, rows, blocks) for each in shown))
    return lines


def _cell(value: float, top: float, row: int, rows: int, blocks: str) -> str:
    if not math.isfinite(value) or top <= 0:
        return " "
    filled = max(0.0, value) / top * rows - (row - 1)
    return blocks[min(len(blocks) - 1, max(0, round(filled * (len(blocks) - 1))))]
