"""Matches batch normalization after pruned layers to the dense network, in mean and variance of each channel.

`edge.training.recalibration` sets moving means and variances to those of the images. That is right where they were
learned from such images, and ruins a network whose batch normalization has another purpose: weights read from a .tflite
file leave it an identity with a bias. Here the pruned network's output is brought to the mean and variance that the
dense one's has on the same images. Where moving means and variances were those of the images, the results are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.training.oneshot.layer_program import LayerProgram, Step
from edge.training.oneshot.moments import Array

_LEAST_SHARE = 1e-3  # of the dense variance; a channel that varies less is not amplified


class ChannelSums:
    """Mean and variance of each channel, added batch by batch.

    Args:
        axis: of the channels.
    """

    def __init__(self, axis: int | Sequence[int]) -> None:
        self._axis, self._count = axis if isinstance(axis, int) else axis[0], 0
        self._sum: Any = 0.0
        self._squares: Any = 0.0

    def add(self, values: NDArray[Any]) -> None:
        """Add one batch."""
        rows = np.moveaxis(values, self._axis, -1).reshape(-1, values.shape[self._axis])
        self._count += len(rows)
        self._sum = self._sum + rows.sum(axis=0, dtype=np.float64)
        self._squares = self._squares + np.einsum("ni,ni->i", rows, rows, dtype=np.float64)

    @property
    def mean(self) -> Array:
        """Mean of each channel."""
        return np.asarray(self._sum / max(self._count, 1))

    @property
    def variance(self) -> Array:
        """Variance of each channel."""
        return np.asarray(np.maximum(self._squares / max(self._count, 1) - np.square(self.mean), 0.0))


def is_normalization(program: LayerProgram, step: Step) -> bool:
    """Whether a step is a batch normalization that is called once, so that it can be matched."""
    return type(step.layer).__name__ == "BatchNormalization" and len(program.calls_of(step.layer)) == 1


def channel_scale(normalization: Any | None, outputs: int) -> Array:  # noqa: ANN401
    """Return what a batch normalization multiplies each channel with; ones without it."""
    if normalization is None:
        return np.ones(outputs)
    variance = np.asarray(normalization.moving_variance, np.float64) + normalization.epsilon
    gamma = np.ones(outputs) if normalization.gamma is None else np.asarray(normalization.gamma, np.float64)
    return np.asarray(gamma / np.sqrt(variance))


def match(layer: Any, dense: ChannelSums, pruned: ChannelSums, *, variances: bool) -> None:  # noqa: ANN401
    """Set a normalization's mean, and variance, so that its output has the mean (and variance) it has when dense."""
    ratio = _ratio(dense.variance, pruned.variance) if variances else np.ones_like(dense.mean)
    mean, variance = (np.asarray(values, np.float64) for values in (layer.moving_mean, layer.moving_variance))
    layer.moving_mean.assign(pruned.mean - (dense.mean - mean) * ratio)
    layer.moving_variance.assign(np.maximum((variance + layer.epsilon) * np.square(ratio) - layer.epsilon, 0.0))


def _ratio(dense: Array, pruned: Array) -> Array:
    """Return by how much the pruned channel varies more; 1 where it has too little variance."""
    usable = (pruned > _LEAST_SHARE * dense) & (dense > 0)
    return np.sqrt(np.divide(pruned, dense, out=np.ones_like(dense), where=usable))


@dataclass(frozen=True)
class Neighbours:
    """The batch normalization that alone reads a layer's output, and the value that the result is then added to.

    None: there is none.
    """

    normalization: Any | None = None
    added: int | None = None


def find_neighbours(program: LayerProgram, step: Step) -> Neighbours:
    """Find what reads the output of a convolution."""
    if getattr(step.layer.activation, "__name__", None) != "linear":
        return Neighbours()
    reader, output = _only_reader(program, step.makes[0]), step.makes[0]
    normalization = None
    if reader is not None and is_normalization(program, reader):
        normalization, output = reader.layer, reader.makes[0]
        reader = _only_reader(program, output)
    if reader is None or type(reader.layer).__name__ != "Add" or len(reader.reads) != 2:
        return Neighbours(normalization)
    return Neighbours(normalization, next((value for value in reader.reads if value != output), None))


def _only_reader(program: LayerProgram, value: int) -> Step | None:
    readers = program.readers(value)
    return readers[0] if len(readers) == 1 and value not in program.outputs else None
