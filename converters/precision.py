"""Bring a Keras model that computes in 16 bits to single precision: TensorFlow Lite has no float16 convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np

_HALF = frozenset({"float16", "bfloat16", "mixed_float16", "mixed_bfloat16"})


def computes_in_half(model: Any) -> bool:  # noqa: ANN401  (a keras.Model)
    """Whether a layer computes or keeps its weights in 16-bit floating point (mixed precision is the usual case)."""
    layers = model._flatten_layers(include_self=True, recursive=True)
    return any(str(getattr(layer, name, "")) in _HALF for layer in layers for name in ("compute_dtype", "dtype"))


def in_single_precision(model: Any) -> Any:  # noqa: ANN401  (a keras.Model)
    """Return the same layers with the same weights, computing in float32; raises what Keras raises on rebuilding."""
    import keras

    described = keras.saving.serialize_keras_object(model)
    rebuilt = keras.saving.deserialize_keras_object(_widened(described))
    rebuilt.set_weights([np.asarray(weight, _wide(weight.dtype)) for weight in model.get_weights()])
    return rebuilt


def _wide(dtype: np.dtype[Any]) -> Any:  # noqa: ANN401  (a NumPy or ml_dtypes type)
    return np.float32 if dtype.name in _HALF else dtype


def _widened(value: Any) -> Any:  # noqa: ANN401  (any JSON value)
    if isinstance(value, dict):
        policy = value.get("class_name") == "DTypePolicy"
        return {key: _renamed(part) if policy and key == "config" else _field(key, part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_widened(part) for part in value)
    return value


def _field(key: str, value: Any) -> Any:  # noqa: ANN401
    return "float32" if key == "dtype" and isinstance(value, str) and value in _HALF else _widened(value)


def _renamed(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "name": "float32"} if config.get("name") in _HALF else config
