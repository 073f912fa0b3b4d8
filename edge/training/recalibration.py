"""Re-measures the means and variances of batch normalization, or freezes them.

Imports Keras; import it only from functions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from edge.models.layer_counts import list_calls

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

    Pruning changes the distributions inside a network faster than moving averages follow. Weights are not changed;
    dropout and noise are off during the measurement; frozen normalizations are not measured.

    Args:
        model: changed in place.
        batches: float32 inputs (batch, height, width, channels), each batch large enough to have a variance.

    Returns:
        The number of normalizations that were measured; 0 if the model has none.
    """
    layers = {id(call.layer): call.layer for call in list_calls(model)}
    normalizations = _normalizations(layers)
    if not normalizations:
        return 0
    with _switch_off_noise(list(layers.values())), _keep_momenta(normalizations):
        for index, inputs in enumerate(batches):
            for layer in normalizations:
                layer.momentum = index / (index + 1)  # the average of all batches so far
            model(inputs, training=True)
    return len(normalizations)


def lags(model: Any, steps: int) -> bool:  # noqa: ANN401  (a keras.Model)
    """Whether moving averages still contain more than a hundredth of their values this many training steps ago."""
    layers = {id(call.layer): call.layer for call in list_calls(model)}
    return any(layer.momentum**steps > _FORGOTTEN for layer in _normalizations(layers))


def freeze_identities(model: Any) -> int:  # noqa: ANN401  (a keras.Model)
    """Freeze the batch normalizations that only add a bias, as in weights read from a .tflite file.

    They hold no statistics of images: normalizing by the batch, as training does, or measuring the statistics would
    change the network. Frozen, Keras runs them as in inference. New, untrained ones are not frozen.

    Returns:
        The number of frozen ones.
    """
    layers = {id(call.layer): call.layer for call in list_calls(model)}
    identities = [layer for layer in _normalizations(layers) if _is_identity(layer)]
    for layer in identities:
        layer.trainable = False
    return len(identities)


def _is_identity(layer: Any) -> bool:  # noqa: ANN401
    """Whether it only adds a bias, and is not a new one of Keras."""
    mean, variance = (np.asarray(values, np.float32) for values in (layer.moving_mean, layer.moving_variance))
    if mean.any() or (layer.gamma is not None and (np.asarray(layer.gamma) != 1).any()):
        return False
    if (variance == 1).all():
        return layer.beta is not None and bool(np.asarray(layer.beta).any())
    return bool((variance + np.float32(layer.epsilon) == 1).all())


def _normalizations(layers: dict[int, Any]) -> list[Any]:
    return [
        layer for layer in layers.values() if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]


@contextlib.contextmanager
def _keep_momenta(layers: list[Any]) -> Iterator[None]:
    before = [layer.momentum for layer in layers]
    try:
        yield
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum


@contextlib.contextmanager
def _switch_off_noise(layers: list[Any]) -> Iterator[None]:
    """Switch dropout and noise off."""
    noisy = [(layer, _NOISE[type(layer).__name__]) for layer in layers if type(layer).__name__ in _NOISE]
    before = [getattr(layer, name) for layer, name in noisy]
    try:
        for layer, name in noisy:
            setattr(layer, name, 0.0)
        yield
    finally:
        for (layer, name), value in zip(noisy, before, strict=True):
            setattr(layer, name, value)
