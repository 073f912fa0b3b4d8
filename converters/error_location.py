"""Finds the layer at which a variant's error first grows, by comparing intermediate tensors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.capture_output import capture_output
from converters.freezing import freeze
from converters.lowering import Lowering
from converters.recipes import RECIPES
from converters.samples import SampleSet
from converters.source import SourceModel
from converters.tflite.values import ModelInfo
from converters.variant_comparison import HostModel

Array = npt.NDArray[Any]
KerasModel = Any  # keras.Model
_REPEAT = re.compile(r"_\d+$")
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class LayerError:
    """A layer's output in the variant against the reference: root mean square error over the reference's own."""

    layer: str
    error: float


def locate_error(model: SourceModel, variant: ModelInfo, *, check: SampleSet, batch: int, limit: float) -> str:
    """Describe the layer where the error first grows beyond `limit`, or else where it grows most.

    The Keras model's layers are the reference, found by the tensors' names; a SavedModel has no layers, there the float
    conversion is.
    """
    errors = layer_errors(model, variant, check=check, batch=batch)
    if not errors:
        return "no intermediate tensor could be matched to a layer"
    return _describe(errors, limit)


def layer_errors(model: SourceModel, variant: ModelInfo, *, check: SampleSet, batch: int) -> list[LayerError]:
    """Return the error of every layer that could be matched, in execution order, on the first inputs of `check`."""
    inputs = next(iter(check.batches(batch)))
    with capture_output():
        reference = _layers(model, inputs) if model.keras_model is not None else _float_tensors(model, inputs)
        host = HostModel(variant.content, preserve=True)
        host.run(inputs)
        ends = _output_layers(model)
        errors: dict[str, LayerError] = {}
        for name, index, shape in _outputs_of(variant):
            matched, *inside = (_match(part, shape, reference) for part in ends.get(name, name).split(";"))
            value = host.value(index) if matched else None
            for layer in (matched, *inside):
                errors.pop(layer or "", None)  # only the last of a layer's tensors is its output, unless it was fused
            if matched and value is not None:
                errors[matched] = LayerError(layer=matched, error=_relative(value, reference[matched]))
    return list(errors.values())


def _outputs_of(model: ModelInfo) -> Iterator[tuple[str, int, tuple[int, ...]]]:
    """Yield name, index and shape of each tensor in the order in which operators write them."""
    graph = model.main
    for operator in graph.operators:
        for index in operator.outputs:
            yield graph.tensors[index].name, index, graph.tensors[index].shape


def _describe(errors: Sequence[LayerError], limit: float) -> str:
    for before, after in zip((None, *errors), errors, strict=False):
        if after.error > limit:
            return _sentence("the error first grows", before, after)
    jumps = [after.error - before.error for before, after in pairwise(errors)]
    place = int(np.argmax(jumps)) + 1 if jumps else 0
    return _sentence("the error grows most", errors[place - 1] if place else None, errors[place])


def _sentence(what: str, before: LayerError | None, after: LayerError) -> str:
    earlier = f"{before.error:.3g} before it (layer '{before.layer}')" if before else "nothing before it"
    return f"{what} at layer '{after.layer}': relative RMS error {earlier}, {after.error:.3g} after it"


def _layers(model: SourceModel, inputs: Sequence[Array]) -> dict[str, Array]:
    """Return every Keras layer's output for these inputs, nested models opened."""
    import tensorflow as tf

    return _layers_of(model.keras_model, [tf.constant(array) for array in inputs])


def _layers_of(model: KerasModel, inputs: Sequence[Any]) -> dict[str, Array]:
    import keras

    layers = [
        layer
        for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer)
        and isinstance(getattr(layer, "output", None), keras.KerasTensor)
    ]
    nested = [layer for layer in layers if isinstance(layer, keras.Model) and layer._inbound_nodes]
    # A nested model's own `output` belongs to its own graph; in this one it is what its call gave and was given.
    results = {layer.name: layer.output for layer in layers if layer not in nested}
    results |= {layer.name: layer._inbound_nodes[-1].output_tensors[0] for layer in nested}
    given = {layer.name: list(layer._inbound_nodes[-1].input_tensors) for layer in nested}
    outputs, passed = keras.Model(model.inputs, [results, given])(list(inputs), training=False)
    opened: dict[str, Array] = {}
    for layer in nested:
        opened |= _layers_of(layer, passed[layer.name])
    return opened | {name: np.asarray(output) for name, output in outputs.items()}


def _output_layers(model: SourceModel) -> dict[str, str]:
    """Return by the name of each output the layer that gives it."""
    import keras

    if model.keras_model is None:
        return {}
    outputs = keras.tree.flatten(model.keras_model.outputs)
    layers = [output._keras_history.operation.name for output in outputs]
    return dict(zip(model.output_names, layers, strict=True))


def _float_tensors(model: SourceModel, inputs: Sequence[Array]) -> dict[str, Array]:
    ports = tuple(
        type(port)(name=port.name, shape=tuple(array.shape), dtype=port.dtype)
        for port, array in zip(model.inputs, inputs, strict=True)
    )
    frozen = freeze(model.call, inputs=ports, output_names=model.output_names)
    floats = Lowering(frozen, samples=None).lower(RECIPES["fp32"])
    host = HostModel(floats.content, preserve=True)
    host.run(inputs)
    values = {name: host.value(index) for name, index, _ in _outputs_of(floats)}
    return {name: value for name, value in values.items() if value is not None and value.ndim > 1}


def _match(name: str, shape: tuple[int, ...], reference: Mapping[str, Array]) -> str | None:
    """Return the layer whose output a tensor is: the innermost scope of its name that is a layer of the same shape."""
    if name in reference:
        return name if reference[name].shape == shape else None
    for scope in reversed(name.split("/")):
        for candidate in (scope, _REPEAT.sub("", scope)):
            if candidate in reference and reference[candidate].shape == shape:
                return candidate
    return None


def _relative(value: Array, reference: Array) -> float:
    error = np.sqrt(np.mean((value.astype(np.float64) - reference) ** 2))
    return float(error / max(float(np.sqrt(np.mean(reference.astype(np.float64) ** 2))), _TINY))
