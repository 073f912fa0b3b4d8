"""Sums the second moments of a layer's inputs over all pixels; its output error is a quadratic with these coefficients.

A 1x1 convolution is Y = X W, one row of X per pixel. Given the wanted Y, the mean squared error of any weights W is a
quadratic in W whose coefficients are second moments: the images themselves are no longer needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_ROWS = 1 << 15
_ROUNDING = 1e-12  # of what centring leaves of a mean square


class Moments:
    """Sums over pixels, added batch by batch; memory does not grow with the images.

    Args:
        weights: of the dense layer, (inputs, outputs).
    """

    def __init__(self, weights: NDArray[Any]) -> None:
        self._dense = weights.astype(np.float64)
        inputs, outputs = weights.shape
        self._count = 0
        self._x, self._y, self._yy = np.zeros(inputs), np.zeros(outputs), np.zeros(outputs)
        self._xx, self._xy = np.zeros((inputs, inputs)), np.zeros((inputs, outputs))

    def add(self, pruned: NDArray[Any], dense: NDArray[Any], more: NDArray[Any] | None = None) -> None:
        """Add one batch of the same images, pixel by pixel.

        Args:
            pruned: the layer's inputs in the pruned network, (..., inputs).
            dense: its inputs in the dense network; its outputs for them are the target.
            more: added to the target, (..., outputs).
        """
        rows, others = (inputs.reshape(-1, len(self._x)) for inputs in (pruned, dense))
        extra = None if more is None else more.reshape(-1, len(self._y))
        with np.errstate(invalid="ignore", over="ignore"):  # see `finite`
            for start in range(0, len(rows), _ROWS):
                part = slice(start, start + _ROWS)
                self._add(rows[part], others[part], None if extra is None else extra[part])

    def _add(self, pruned: NDArray[Any], dense: NDArray[Any], extra: NDArray[Any] | None) -> None:
        x, y = pruned.astype(np.float64), dense.astype(np.float64) @ self._dense
        if extra is not None:
            y += extra
        self._count += len(x)
        self._x += x.sum(axis=0)
        self._y += y.sum(axis=0)
        self._yy += np.square(y).sum(axis=0)
        self._xx += x.T @ x
        self._xy += x.T @ y

    @property
    def finite(self) -> bool:
        """Whether no value was infinite or no number."""
        return bool(np.isfinite(self._xx).all() and np.isfinite(self._yy).all())

    def quadratic(self, *, centred: bool, damping: float) -> Quadratic:
        """Return the error as a function of the weights.

        Args:
            centred: means do not count, because a bias or a batch normalization after the layer restores them.
            damping: weight of staying near the dense weights, in mean squares (variances) of an input channel.
        """
        n = max(self._count, 1)
        xx, xy, yy = self._xx / n, self._xy / n, self._yy / n
        rounding = _ROUNDING * float(np.trace(xx))
        if centred:
            x, y = self._x / n, self._y / n
            xx, xy, yy = xx - np.outer(x, x), xy - np.outer(x, y), np.maximum(yy - np.square(y), 0.0)
        ridge = max(damping * float(np.trace(xx)) / len(xx), rounding)
        if ridge < np.finfo(np.float64).tiny:  # all inputs are zero: the weights stay unchanged
            ridge = 1.0
        return Quadratic(xx + ridge * np.eye(len(xx)), xy + ridge * self._dense, self._dense, yy, ridge)

    def mean_error(self, weights: Array) -> Array:
        """Return the average amount by which each output is too small with these weights."""
        return np.asarray((self._y - self._x @ weights) / max(self._count, 1))


@dataclass(frozen=True)
class Quadratic:
    """The mean squared error of a layer's output, plus `ridge` times the squared change of its weights.

    For weights W (inputs, outputs) it is, summed over outputs, W' hessian W - 2 W' target + what does not depend on W.
    `dense` are the weights to stay near to, `energy` is the mean square of each target output.
    """

    hessian: Array
    target: Array
    dense: Array
    energy: Array
    ridge: float

    def mean_squared_error(self, weights: Array) -> Array:
        """Return the mean squared error of each output, the part for changed weights left out."""
        own = np.einsum("io,io->o", weights, self.hessian @ weights - self.ridge * weights)
        both = np.einsum("io,io->o", weights, self.target - self.ridge * self.dense)
        return np.asarray(np.maximum(own - 2 * both + self.energy, 0.0))

    def relative_error(self, weights: Array, importance: Array) -> float:
        """Return the root of the squared error over the energy, outputs weighted by their importance; 0 for nothing."""
        energy = float(self.energy @ importance)
        return float(np.sqrt(self.mean_squared_error(weights) @ importance / energy)) if energy > 0 else 0.0
