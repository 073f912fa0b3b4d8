"""A model to convert: a Keras model, a .keras or .h5 file, or a SavedModel folder, behind one small interface."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.capture_output import capture_output
from converters.errors import SourceError
from converters.freezing import Port, first_line, unique_names
from converters.precision import computes_in_half, in_single_precision

Array = npt.NDArray[Any]
KerasTensor = Any  # keras.KerasTensor
Trackable = Any  # what tensorflow.saved_model.load returns
FREE = -1
KINDS = {".keras": "keras", ".h5": "h5", ".hdf5": "h5"}
_SINGLE = "the model computes in 16-bit floating point: it is converted, and compared, in single precision"
_ACCEPTED = "a name of `edge models`, a .keras or .h5 file, or a SavedModel folder"


@dataclass(frozen=True, kw_only=True)
class SourceModel:
    """A model that can be called and traced.

    Attributes:
        name: what artifacts are named after unless told otherwise.
        kind: "registry", "keras", "h5" or "savedmodel".
        call: tensors in the order of `inputs` to a flat list of output tensors.
        inputs: ports with free sizes as -1, batch first.
        output_names: in the order of `call`.
        output_shapes: likewise, free sizes as -1; None where even the number of dimensions is free.
        keras_model: the Keras model, None for a SavedModel.
        notes: what was done to it that a user should know.
    """

    name: str
    kind: str
    call: Callable[..., Sequence[Any]]
    inputs: tuple[Port, ...]
    output_names: tuple[str, ...]
    output_shapes: tuple[tuple[int, ...] | None, ...]
    keras_model: Any | None
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> int | None:
        """The number of scores per input; None unless the first output is one row of them."""
        shape = self.output_shapes[0] if self.output_shapes else None
        return shape[1] if shape is not None and len(shape) == 2 and shape[1] > 0 else None

    def with_static_inputs(self, *, batch: int, image_size: int | None) -> tuple[Port, ...]:
        """Return the inputs with the batch and, for pictures of free size, height and width fixed.

        Raises:
            SourceError: a size stays free, or `image_size` contradicts the model's own.
        """
        return tuple(_static(port, batch, image_size) for port in self.inputs)

    def predict(self, inputs: Sequence[Array]) -> list[Array]:
        """Return the outputs for one batch, computed by Keras (or by the SavedModel itself).

        Raises:
            SourceError: the model does not run on inputs of this shape.
        """
        import tensorflow as tf

        try:
            return [np.asarray(output) for output in self.call(*(tf.constant(array) for array in inputs))]
        except Exception as error:  # whatever a layer's code raises
            shapes = ", ".join(f"{port.name} {list(a.shape)}" for port, a in zip(self.inputs, inputs, strict=True))
            raise SourceError(
                f"{self.name} does not run on inputs {shapes}: {first_line(error)}",
                hint="check that the model itself runs on an input of this shape, or choose another --image-size",
            ) from error


def from_keras(model: Any, *, name: str, kind: str) -> SourceModel:  # noqa: ANN401  (a keras.Model)
    """Wrap a Keras model that is already in memory.

    Raises:
        SourceError: it has no known inputs (a subclassed model that was never called), or inputs that are no numbers.
    """
    import keras

    if not getattr(model, "inputs", None):
        raise SourceError(
            f"{name} has no known inputs: it is a subclassed or unbuilt model",
            hint="build it functionally (keras.Input ... keras.Model), or export it as a SavedModel with model.export",
        )
    struct = model.inputs[0] if isinstance(model, keras.Sequential) else model.input

    def call(*tensors: Any) -> Sequence[Any]:  # noqa: ANN401
        packed = keras.tree.pack_sequence_as(struct, list(tensors)) if keras.tree.is_nested(struct) else tensors[0]
        return list(keras.tree.flatten(model(packed, training=False)))

    names = unique_names([_layer_name(tensor) for tensor in model.inputs])
    inputs = tuple(
        _port(label, tensor.shape, str(tensor.dtype)) for label, tensor in zip(names, model.inputs, strict=True)
    )
    outputs = unique_names(getattr(model, "output_names", None) or [t.name for t in model.outputs])
    shapes = tuple(_shape(tensor.shape) for tensor in keras.tree.flatten(model.outputs))
    return SourceModel(name=name, kind=kind, call=call, inputs=inputs, output_names=outputs, output_shapes=shapes,
                       keras_model=model)  # fmt: skip


def _layer_name(tensor: KerasTensor) -> str:
    """Return the input layer's name: the tensor's own may be numbered by the process that built it."""
    history = getattr(tensor, "_keras_history", None)
    return str(history.operation.name if history is not None else tensor.name)


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
        _port(name, spec.shape.as_list() if spec.shape.rank else (), spec.dtype.name) for name, spec in specs
    )

    def call(*tensors: Any) -> Sequence[Any]:  # noqa: ANN401
        result = function(**{name: tensor for (name, _), tensor in zip(specs, tensors, strict=True)})
        return [result[name] for name in outputs]

    ranked = [function.structured_outputs[name].shape for name in outputs]
    shapes = tuple(None if shape.rank is None else _shape(shape.as_list()) for shape in ranked)
    call.owner = loaded  # type: ignore[attr-defined]  # keeps the variables alive
    return SourceModel(name=path.name, kind="savedmodel", call=call, inputs=inputs,
                       output_names=unique_names(outputs), output_shapes=shapes, keras_model=None)  # fmt: skip


def _port(name: str, shape: Sequence[int | None], dtype: str) -> Port:
    if not len(shape):
        raise SourceError(f"input '{name}' has no batch dimension", hint="give the model inputs of shape (batch, ...)")
    if dtype not in ("float32", "float16", "int32", "int64", "uint8", "int8"):
        raise SourceError(
            f"input '{name}' is of type {dtype}; numbers are needed", hint="cut text preprocessing off the model"
        )
    return Port(name=name, shape=_shape(shape), dtype=dtype)


def _shape(sizes: Sequence[int | None]) -> tuple[int, ...]:
    return tuple(FREE if size is None else int(size) for size in sizes)


def _static(port: Port, batch: int, image_size: int | None) -> Port:
    if port.shape[0] not in (FREE, batch):
        raise SourceError(
            f"input '{port.name}' has a fixed batch of {port.shape[0]}, {batch} was asked for",
            hint=f"--batch {port.shape[0]}",
        )
    sizes = list(port.shape[1:])
    picture = len(sizes) == 3
    if picture and image_size is not None:
        if any(own not in (FREE, image_size) for own in sizes[:2]):
            raise SourceError(
                f"input '{port.name}' is fixed to {sizes[0]}x{sizes[1]}, an image size of {image_size} was asked for",
                hint="leave --image-size out",
            )
        sizes[:2] = [image_size, image_size]
    if FREE in sizes:
        shown = [None if size == FREE else size for size in port.shape]
        hint = (
            "--image-size N fixes height and width"
            if picture and sizes[2] != FREE
            else "give the model a fixed input shape"
        )
        raise SourceError(f"input '{port.name}' has free sizes: {shown}; variants need static shapes", hint=hint)
    return replace(port, shape=(batch, *sizes))


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
