"""Weights as int8, symmetric, one scale per output channel: what is zero stays zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LARGEST = 127


@dataclass(frozen=True, kw_only=True, eq=False)
class Int8Rows:
    """A matrix of (output channels, inputs) as `values * scales[:, None]`."""

    values: NDArray[np.int8]
    scales: NDArray[np.float32]


def quantize_rows(matrix: NDArray[Any]) -> Int8Rows:
    """Quantize each row so that its largest magnitude becomes 127; rows of zeros have the scale 1."""
    real = matrix.astype(np.float64)
    largest = np.abs(real).max(axis=1, initial=0.0)
    scales = (largest / _LARGEST).astype(np.float32)
    scales[scales < np.finfo(np.float32).tiny] = 1.0  # a row of zeros, or too small to divide by
    steps = np.rint(real / scales[:, None].astype(np.float64))
    return Int8Rows(values=np.clip(steps, -_LARGEST, _LARGEST).astype(np.int8), scales=scales)
