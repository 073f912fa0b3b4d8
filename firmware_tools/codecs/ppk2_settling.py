"""Corrects the three samples after a PPK2 has switched its range.

While the kit's amplifiers settle, these three samples can be far off. Nordic's own program shows a running mean in
their place (NordicSemiconductor/pc-nrfconnect-ppk, src/device/serialDevice.ts; IRNAS/ppk2-api-python does the same),
and so does this module, so that all three show the same current: in range 4 the slow mean (weight 0.06 for a new
sample), in the others the fast one (0.18); the first two samples in range 4 are left out of the means. A step of the
load that crosses ranges is therefore smeared over 30 us.

The means depend on all earlier samples, but are needed only at these three. So they are computed at the ends of blocks,
and from there at the samples needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

SETTLING = 3
_FAST, _SLOW = 0.18, 0.06
_SLOW_RANGE = 4
_HELD = 2
_BLOCK = 128
# 0.94 to this power is 3e-28: older samples are negligible.
_MEMORY = 1024


@dataclass(frozen=True)
class Settling:
    """Running means, the last sample's range, and how many samples ago that range was selected."""

    fast: float
    slow: float
    range: int
    since: int = SETTLING


def settle_currents(
    state: Settling | None, current_a: NDArray[np.float64], ranges: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], Settling]:
    """Return the currents with the samples after a switch replaced; `current_a` has at least one sample."""
    if state is None:
        state = Settling(float(current_a[0]), float(current_a[0]), int(ranges[0]))
    switched = np.flatnonzero(np.diff(ranges, prepend=np.uint8(state.range)))
    if not len(switched) and state.since >= SETTLING - 1:
        last_fast, last_slow = _last(current_a, _FAST, state.fast), _last(current_a, _SLOW, state.slow)
        return current_a, Settling(last_fast, last_slow, int(ranges[-1]))
    since = _since(switched, state.since, len(ranges))
    held = (ranges == _SLOW_RANGE) & (since < _HELD)
    kept = current_a[~held]
    replaced = np.flatnonzero(since < SETTLING)
    entered = np.append(np.cumsum(~held)[replaced], len(kept)) - 1
    fast, slow = _means(kept, _FAST, state.fast, entered), _means(kept, _SLOW, state.slow, entered)
    out = current_a.copy()
    out[replaced] = np.where(ranges[replaced] == _SLOW_RANGE, slow[:-1], fast[:-1])
    return out, Settling(float(fast[-1]), float(slow[-1]), int(ranges[-1]), min(int(since[-1]), SETTLING))


def _since(switched: NDArray[np.intp], before: int, count: int) -> NDArray[np.intp]:
    """Return for each sample how many samples ago the range was switched."""
    last = np.full(count, -1 - before)
    last[switched] = switched
    return np.arange(count) - np.maximum.accumulate(last)


def _last(values: NDArray[np.float64], weight: float, start: float) -> float:
    """Return the running mean after the last value."""
    recent = values[-_MEMORY:]
    before = start * (1 - weight) ** len(recent) if len(recent) == len(values) else 0.0
    return float(recent @ _powers(weight)[-len(recent) :]) + before


@cache
def _powers(weight: float) -> NDArray[np.float64]:
    """Return the weights of the last _MEMORY values in a running mean, the newest last."""
    return np.asarray(weight * (1 - weight) ** np.arange(_MEMORY - 1, -1, -1.0))


def _means(values: NDArray[np.float64], weight: float, start: float, places: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the running mean after the values at these places; at place -1 it is `start`."""
    blocks = np.zeros((len(values) // _BLOCK + 1, _BLOCK))
    blocks.ravel()[: len(values)] = values
    weights, decay = _weights(weight), 1 - weight
    # Not a matrix product: on small blocks, its threads cost more than they save.
    ends = np.einsum("ij,j->i", blocks, weights[-1])
    befores = np.fromiter(
        accumulate(ends[:-1].tolist(), lambda mean, end: end + decay**_BLOCK * mean, initial=start), float
    )
    block, offset = np.divmod(np.maximum(places, 0), _BLOCK)
    means = np.einsum("ij,ij->i", blocks[block], weights[offset]) + befores[block] * decay ** (offset + 1.0)
    return np.where(places < 0, start, means)


@cache
def _weights(weight: float) -> NDArray[np.float64]:
    """Return the weights of a block's values (columns) in the mean at each of its places (rows)."""
    distance = np.arange(_BLOCK)[:, np.newaxis] - np.arange(_BLOCK)
    return np.where(distance >= 0, weight * (1 - weight) ** np.maximum(distance, 0.0), 0.0)
