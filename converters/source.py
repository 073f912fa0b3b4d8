"""Wraps the model to convert, a Keras model or a SavedModel, in one small interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.errors import SourceError
from converters.freezing import Port, first_line, unique_names

Array = npt.NDArray[Any]
KerasTensor = Any  # keras.KerasTensor
FREE = -1


@dataclass(frozen=True, kw_only=True)
class SourceModel:
    """A model that can be called and traced.

    Attributes:
        name: the default name of artifacts.
        kind: "registry", "keras", "h5" or "savedmodel".
        call: tensors in the order of `inputs` to a flat list of output tensors.
        inputs: ports with free sizes as -1, batch first.
        output_names: in the order of `call`.
        output_shapes: likewise, free sizes as -1; None where even the number of dimensions is free.
        keras_model: the Keras model, None for a SavedModel.
        notes: changes to it that a user should know.
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
        SourceError: it has no known inputs (a subclassed model that was never called), or inputs that are not numbers.
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
        make_port(label, tensor.shape, str(tensor.dtype)) for label, tensor in zip(names, model.inputs, strict=True)
    )
    outputs = unique_names(getattr(model, "output_names", None) or [t.name for t in model.outputs])
    shapes = tuple(shape_of(tensor.shape) for tensor in keras.tree.flatten(model.outputs))
    return SourceModel(name=name, kind=kind, call=call, inputs=inputs, output_names=outputs, output_shapes=shapes,
                       keras_model=model)  # fmt: skip


def _layer_name(tensor: KerasTensor) -> str:
    """Return the input layer's name: the tensor's own name may contain a number from the process that built it."""
    history = getattr(tensor, "_keras_history", None)
    return str(history.operation.name if history is not None else tensor.name)


def make_port(name: str, shape: Sequence[int | None], dtype: str) -> Port:
    """Return an input with free sizes as -1; refuse one without a batch dimension, or that holds no numbers."""
    if not len(shape):
        raise SourceError(f"input '{name}' has no batch dimension", hint="give the model inputs of shape (batch, ...)")
    if dtype not in ("float32", "float16", "int32", "int64", "uint8", "int8"):
        raise SourceError(
            f"input '{name}' is of type {dtype}; numbers are needed", hint="cut text preprocessing off the model"
        )
    return Port(name=name, shape=shape_of(shape), dtype=dtype)


def shape_of(sizes: Sequence[int | None]) -> tuple[int, ...]:
    """Return a shape with its free sizes as -1."""
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
