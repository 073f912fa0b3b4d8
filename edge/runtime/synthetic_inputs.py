"""Makes input arrays that any model can be timed on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike, NDArray


def plausible_array(shape: Sequence[int], dtype: DTypeLike, *, seed: int = 0) -> NDArray[np.generic]:
    """Return an array that a model can run on, the same for the same arguments.

    Floating point: uniform in [-1, 1). 8-bit: all values alike. Wider integers and truth values: zeros, since they are
    often indices and another value might be out of their range.
    """
    kind, generator = np.dtype(dtype), np.random.default_rng(seed)
    if kind.kind == "f":
        return generator.uniform(-1, 1, tuple(shape)).astype(kind)
    if kind.kind in "iu" and kind.itemsize == 1:
        limits = np.iinfo(kind)
        return generator.integers(limits.min, limits.max, tuple(shape), kind, endpoint=True)
    return np.zeros(tuple(shape), kind)
