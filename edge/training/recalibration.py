"""Batch normalization's means and variances: measured anew for the weights as they are, or kept as they are.

Imports Keras; import it only from functions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from edge.models.graph import calls

_FORGOTTEN = 0.01
_NOISE = {
    "Dropout": "rate",
    "SpatialDropout1D": "rate",
    "SpatialDropout2D": "rate",
    "SpatialDropout3D": "rate",
    "AlphaDropout": "rate",
    "GaussianDropout": "rate",
    "GaussianNoise": "stddev",
}


def recalibrate(model: Any, batches: Iterable[Any]) -> int:  # noqa: ANN401  (a keras.Model)
    """Replace moving means and variances by the plain averages over some batches of inputs.

    Pruning moves the distributions inside a network faster than moving averages follow. Weights stay as they are;
    dropout and noise are off meanwhile; frozen normalizations are left alone.

    Args:
        model: changed in place.
        batches: float32 inputs (batch, height, width, channels), each batch large enough to have a variance.

    Returns:
        How many normalizations were measured; 0 if the model has none.
    """
    layers = {id(call.layer): call.layer for call in calls(model)}
    found = _normalizations(layers)
    if not found:
        return 0
    with _quiet(list(layers.values())), _momenta(found):
        for index, inputs in enumerate(batches):
            for each in found:
                each.momentum = index / (index + 1)  # the average of all batches so far
            model(inputs, training=True)
    return len(found)


def lags(model: Any, steps: int) -> bool:  # noqa: ANN401  (a keras.Model)
    """Whether moving averages still hold more than a hundredth of what they were so many steps of training ago."""
    layers = {id(call.layer): call.layer for call in calls(model)}
    return any(each.momentum**steps > _FORGOTTEN for each in _normalizations(layers))


def freeze_identities(model: Any) -> int:  # noqa: ANN401  (a keras.Model)
    """Freeze the batch normalizations that only add a bias, as weights read back from a .tflite file leave them.

    They hold no statistics of pictures: normalizing by the batch, as training does, or measuring the statistics would
    give another network. Frozen, Keras runs them as in inference. New ones, which nothing was learned in, are left.

    Returns:
        How many were frozen.
    """
    layers = {id(call.layer): call.layer for call in calls(model)}
    found = [each for each in _normalizations(layers) if _is_identity(each)]
    for each in found:
        each.trainable = False
    return len(found)


def _is_identity(layer: Any) -> bool:  # noqa: ANN401
    """Whether it adds a bias and does nothing else, and is not as Keras makes new ones."""
    mean, variance = (np.asarray(each, np.float32) for each in (layer.moving_mean, layer.moving_variance))
    if mean.any() or (layer.gamma is not None and (np.asarray(layer.gamma) != 1).any()):
        return False
    if (variance == 1).all():
        return layer.beta is not None and bool(np.asarray(layer.beta).any())
    return bool((variance + np.float32(layer.epsilon) == 1).all())


def _normalizations(layers: dict[int, Any]) -> list[Any]:
    return [each for each in layers.values() if isinstance(each, keras.layers.BatchNormalization) and each.trainable]


@contextlib.contextmanager
def _momenta(layers: list[Any]) -> Iterator[None]:
    before = [each.momentum for each in layers]
    try:
        yield
    finally:
        for each, momentum in zip(layers, before, strict=True):
            each.momentum = momentum


@contextlib.contextmanager
def _quiet(layers: list[Any]) -> Iterator[None]:
    """Switch dropout and noise off."""
    noisy = [(each, _NOISE[type(each).__name__]) for each in layers if type(each).__name__ in _NOISE]
    before = [getattr(each, name) for each, name in noisy]
    try:
        for each, name in noisy:
            setattr(each, name, 0.0)
        yield
    finally:
        for (each, name), value in zip(noisy, before, strict=True):
            setattr(each, name, value)
