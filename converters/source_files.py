"""Loads a model to convert from a .keras or .h5 file or a SavedModel folder; 16-bit models in single precision."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from converters.capture_output import capture_output
from converters.errors import SourceError
from converters.freezing import unique_names
from converters.source import SourceModel, from_keras, make_port, shape_of

Trackable = Any  # what tensorflow.saved_model.load returns
KINDS = {".keras": "keras", ".h5": "h5", ".hdf5": "h5"}
_SINGLE = "the model computes in 16-bit floating point: it is converted, and compared, in single precision"
_ACCEPTED = "a name of `edge models`, a .keras or .h5 file, or a SavedModel folder"


def load_source(path: Path) -> SourceModel:
    """Load a model file or folder.

    Raises:
        SourceError: nothing is there, it is damaged, of another type, or needs code that is not here.
    """
    if not path.exists():
        raise SourceError(f"there is no model at {path}", hint=f"SOURCE is {_ACCEPTED}")
    if path.is_dir():
        return _load_saved_model(path)
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise SourceError(f"{path} is not {_ACCEPTED}", hint=_hint_for(path))
    _require_content(path, kind)
    return _load_keras(path, kind)


def _load_keras(path: Path, kind: str) -> SourceModel:
    import keras

    with capture_output():
        try:
            model = keras.models.load_model(path, compile=False)
            half = computes_in_half(model)
            model = in_single_precision(model) if half else model
        except Exception as error:  # Keras raises whatever a layer's code raises
            raise _unloadable(path, error) from error
        return replace(from_keras(model, name=path.stem, kind=kind), notes=(_SINGLE,) if half else ())


def _unloadable(path: Path, error: Exception) -> SourceError:
    told = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    custom = re.search(r"(?:Could not locate class|Unknown layer|Could not deserialize class) '?([\w>.:]+)", told)
    if custom:
        return SourceError(
            f"{path} uses the custom class {custom[1].strip(chr(39))}, whose code is not in the file",
            hint="rebuild the model with Keras' own layers, or export it where its code is: model.export('folder')",
        )
    if "lambda" in told.lower():
        return SourceError(
            f"{path} contains a Lambda layer, which is code and is not run from a file",
            hint="replace it with a Keras layer, or export a SavedModel where its code is: model.export('folder')",
        )
    first = next((line.strip() for line in told.splitlines() if line.strip()), type(error).__name__)
    return SourceError(
        f"{path} could not be loaded as a Keras model: {first[:300]}",
        hint="a file of weights alone (.weights.h5) goes with a registry name: edge convert NAME --weights FILE",
    )


def _load_saved_model(path: Path) -> SourceModel:
    import tensorflow as tf

    if not (path / "saved_model.pb").is_file() and not (path / "saved_model.pbtxt").is_file():
        raise SourceError(
            f"the folder {path} is no SavedModel: it has no saved_model.pb", hint=f"SOURCE is {_ACCEPTED}"
        )
    with capture_output():
        try:
            loaded = tf.saved_model.load(str(path))
        except Exception as error:  # damaged protos, missing variables, unknown operators
            raise SourceError(
                f"the SavedModel {path} could not be loaded: {str(error).splitlines()[0][:300]}",
                hint="export it again, with the TensorFlow version that is installed here if an operator is unknown",
            ) from error
    return _from_signature(loaded, path)


def _from_signature(loaded: Trackable, path: Path) -> SourceModel:
    signatures = dict(loaded.signatures)
    key = "serving_default" if "serving_default" in signatures else next(iter(signatures), None)
    if key is None or (len(signatures) > 1 and key != "serving_default"):
        raise SourceError(
            f"the SavedModel {path} has the signatures {', '.join(signatures) or 'none'}; 'serving_default' is needed",
            hint="export it with keras: model.export('folder'), or tf.saved_model.save(..., signatures=function)",
        )
    function = signatures[key]
    specs = sorted(function.structured_input_signature[1].items())
    outputs = sorted(function.structured_outputs)
    inputs = tuple(
        make_port(name, spec.shape.as_list() if spec.shape.rank else (), spec.dtype.name) for name, spec in specs
    )

    def call(*tensors: Any) -> Sequence[Any]:  # noqa: ANN401
        result = function(**{name: tensor for (name, _), tensor in zip(specs, tensors, strict=True)})
        return [result[name] for name in outputs]

    ranked = [function.structured_outputs[name].shape for name in outputs]
    shapes = tuple(None if shape.rank is None else shape_of(shape.as_list()) for shape in ranked)
    call.owner = loaded  # type: ignore[attr-defined]  # keeps the variables alive
    return SourceModel(name=path.name, kind="savedmodel", call=call, inputs=inputs,
                       output_names=unique_names(outputs), output_shapes=shapes, keras_model=None)  # fmt: skip


def _require_content(path: Path, kind: str) -> None:
    with path.open("rb") as file:
        start = file.read(8)
    whole = zipfile.is_zipfile(path) if kind == "keras" else start == b"\x89HDF\r\n\x1a\n"
    if not whole:
        raise SourceError(
            f"{path} is not {'a .keras' if kind == 'keras' else 'an HDF5'} file: it is damaged or of another type "
            f"({path.stat().st_size} bytes)",
            hint="save the model again: model.save('name.keras')",
        )


def _hint_for(path: Path) -> str:
    if path.suffix == ".tflite":
        return "a .tflite file is already converted; as weights of a registry model: edge convert NAME --weights FILE"
    if path.suffix in (".pb", ".pbtxt"):
        return f"give the SavedModel's folder: {path.parent}"
    return "save the model with Keras: model.save('name.keras')"


_HALF = frozenset({"float16", "bfloat16", "mixed_float16", "mixed_bfloat16"})


def computes_in_half(model: Any) -> bool:  # noqa: ANN401  (a keras.Model)
    """Whether a layer computes or keeps its weights in 16-bit floating point (mixed precision is the usual case)."""
    layers = model._flatten_layers(include_self=True, recursive=True)
    return any(str(getattr(layer, name, "")) in _HALF for layer in layers for name in ("compute_dtype", "dtype"))


def in_single_precision(model: Any) -> Any:  # noqa: ANN401  (a keras.Model)
    """Return the same layers with the same weights, computing in float32; raises what Keras raises on rebuilding."""
    import keras

    described = keras.saving.serialize_keras_object(model)
    rebuilt = keras.saving.deserialize_keras_object(_widen(described))
    rebuilt.set_weights([np.asarray(weight, _wide(weight.dtype)) for weight in model.get_weights()])
    return rebuilt


def _wide(dtype: np.dtype[Any]) -> Any:  # noqa: ANN401  (a NumPy or ml_dtypes type)
    return np.float32 if dtype.name in _HALF else dtype


def _widen(value: Any) -> Any:  # noqa: ANN401  (any JSON value)
    if isinstance(value, dict):
        policy = value.get("class_name") == "DTypePolicy"
        return {
            key: _rename_policy(part) if policy and key == "config" else _field(key, part)
            for key, part in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(_widen(part) for part in value)
    return value


def _field(key: str, value: Any) -> Any:  # noqa: ANN401
    return "float32" if key == "dtype" and isinstance(value, str) and value in _HALF else _widen(value)


def _rename_policy(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "name": "float32"} if config.get("name") in _HALF else config
