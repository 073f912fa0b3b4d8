"""Counts parameters and multiply-adds of a built Keras model, from its layers' calls and static shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edge.errors import InputError

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer; shapes include the batch, `inputs` and `outputs` identify the tensors."""

    layer: Any
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def kind(self) -> str:
        """The layer's class name."""
        return type(self.layer).__name__


def list_calls(model: Any) -> tuple[LayerCall, ...]:  # noqa: ANN401  (a keras.Model)
    """List the layer calls of a functional or sequential model, nested models opened, in execution order.

    Raises:
        InputError: the model has no static graph (subclassed), or was not built.
    """
    return tuple(_walk(model))


def _walk(model: Any) -> Iterator[LayerCall]:  # noqa: ANN401
    for node in _nodes(model):
        if node.is_input:
            continue
        if hasattr(node.operation, "layers"):
            yield from _walk(node.operation)
        else:
            yield _call(node)


def _nodes(model: Any) -> list[Any]:  # noqa: ANN401
    # A Sequential keeps its graph in `_functional`. Keras has no public way to the calls of a graph; its own
    # `run_through_graph` goes by depth like this.
    graph = getattr(model, "_functional", None) or model
    by_depth = getattr(graph, "_nodes_by_depth", None)
    if by_depth is None:
        raise InputError(
            f"the model {model.name!r} is a {type(model).__name__} without a static graph of layers",
            hint="build it with the functional API, keras.Model(inputs, outputs), or call it once if it is Sequential",
        )
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def _call(node: Any) -> LayerCall:  # noqa: ANN401
    return LayerCall(
        layer=node.operation,
        input_shapes=tuple(tuple(tensor.shape) for tensor in node.input_tensors),
        output_shape=tuple(node.outputs[0].shape),
        inputs=tuple(id(tensor) for tensor in node.input_tensors),
        outputs=tuple(id(tensor) for tensor in node.outputs),
    )


# Layers with values of their own that cost no multiply-adds by convention (element-wise work).
_ELEMENTWISE = frozenset(
    {"BatchNormalization", "LayerNormalization", "GroupNormalization", "UnitNormalization", "Normalization", "PReLU"}
)
# Layers without values that multiply nevertheless, in a way not counted here.
_PRODUCTS = frozenset({"Dot", "Attention", "AdditiveAttention", "Matmul", "Einsum", "Tensordot"})


@dataclass(frozen=True)
class LayerCount:
    """One layer that holds values; `kernels` are its weights without biases.

    `macs` and `fused` are None where the layer's kind is unknown.
    """

    name: str
    kind: str
    parameters: int
    trainable: int
    weights: int
    kernels: int
    fused: int | None
    macs: int | None


@dataclass(frozen=True)
class Counts:
    """The parameters and operations of a model.

    Attributes:
        parameters: all values, as `Model.count_params()`.
        trainable: all but batch normalization's moving means and variances (whether or not layers are frozen).
        weights: kernels and the biases that exist; no normalization.
        fused: one kernel and one bias per convolution or dense layer, as after folding batch normalization.
        macs: multiply-adds of convolutions and dense layers for a batch of 1; normalization, activation, pooling
            and bias count 0.
        layers: the layers that hold values, in execution order.

    `fused` and `macs` are None when a layer's cost is not known (`layers` shows which).
    """

    parameters: int
    trainable: int
    weights: int
    fused: int | None
    macs: int | None
    layers: tuple[LayerCount, ...]


@dataclass(frozen=True)
class SparseCounts:
    """The counts of a model with zeros in its kernels: stored values with one bias per channel, and multiply-adds."""

    nonzeros: int
    macs: int


def count(model: Any) -> Counts:  # noqa: ANN401  (a keras.Model)
    """Count a functional or sequential model.

    Layers called several times count their values once and their multiply-adds each time.

    Raises:
        InputError: the model has no static graph, or a height or width that is not fixed.
    """
    found: dict[int, list[LayerCall]] = {}
    for call in list_calls(model):
        if call.layer.weights if hasattr(call.layer, "weights") else call.kind in _PRODUCTS:
            found.setdefault(id(call.layer), []).append(call)
    layers = tuple(_count_layer(uses) for uses in found.values())
    fused, macs = [layer.fused for layer in layers], [layer.macs for layer in layers]
    return Counts(
        parameters=sum(layer.parameters for layer in layers),
        trainable=sum(layer.trainable for layer in layers),
        weights=sum(layer.weights for layer in layers),
        fused=_total(fused),
        macs=_total(macs),
        layers=layers,
    )


def sparse_counts(counts: Counts, sparsity: Mapping[str, float]) -> SparseCounts | None:
    """Return a model's counts when kernels have the given shares of zeros and nothing else has any.

    Args:
        counts: of the dense model.
        sparsity: share of zeros by layer name; layers not named are dense.

    Returns:
        Totals, rounded once; None where the dense counts are unknown.
    """
    if counts.fused is None or counts.macs is None:
        return None
    zeros = sum(sparsity.get(layer.name, 0.0) * layer.kernels for layer in counts.layers)
    saved = sum(sparsity.get(layer.name, 0.0) * (layer.macs or 0) for layer in counts.layers)
    return SparseCounts(nonzeros=round(counts.fused - zeros), macs=round(counts.macs - saved))


def _total(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _count_layer(uses: list[LayerCall]) -> LayerCount:
    layer, kind = uses[0].layer, uses[0].kind
    variables = [*getattr(layer, "weights", ())]
    normalizes = kind in _ELEMENTWISE
    rule = _MACS.get(kind)
    return LayerCount(
        name=layer.name,
        kind=kind,
        parameters=_size(variables),
        trainable=_size([variable for variable in variables if not variable.path.split("/")[-1].startswith("moving_")]),
        weights=0 if normalizes else _size(variables),
        kernels=0 if normalizes else _size(_kernels(layer)),
        fused=0 if normalizes else (_count_fused(layer) if rule else None),
        macs=0 if normalizes else (_total([rule(use) for use in uses]) if rule else None),
    )


def _size(variables: list[Any]) -> int:
    return sum(math.prod(variable.shape) for variable in variables)


def _kernels(layer: Any) -> list[Any]:  # noqa: ANN401
    return [variable for variable in getattr(layer, "weights", ()) if not variable.path.endswith("/bias")]


def _count_fused(layer: Any) -> int:  # noqa: ANN401
    """Kernel and one bias per output channel; a separable layer is two convolutions."""
    kernels = _kernels(layer)
    if type(layer).__name__.startswith("Separable"):
        depthwise = kernels[0].shape
        return _size(kernels) + int(depthwise[-1] * depthwise[-2]) + int(layer.filters)
    return _size(kernels) + _channels(layer)


def _channels(layer: Any) -> int:  # noqa: ANN401
    if type(layer).__name__ == "Dense":
        return int(layer.units)
    if type(layer).__name__.startswith("Depthwise"):
        return int(layer.kernel.shape[-1] * layer.kernel.shape[-2])
    return int(layer.filters)


def _positions(call: LayerCall, *, of_input: bool = False) -> int:
    shape = call.input_shapes[0] if of_input else call.output_shape
    channels_first = getattr(call.layer, "data_format", None) == "channels_first"
    places = shape[2:] if channels_first else shape[1:-1]
    fixed = [place for place in places if place is not None]
    if len(fixed) < len(places):
        raise InputError(
            f"the layer {call.layer.name!r} has the shape {shape}: its cost depends on sizes that are not fixed",
            hint="build the model with a fixed height and width, such as Input((224, 224, 3))",
        )
    return math.prod(fixed)


def _each_position(call: LayerCall) -> int:
    return _positions(call) * _size(_kernels(call.layer))


def _each_input_position(call: LayerCall) -> int:
    return _positions(call, of_input=True) * _size(_kernels(call.layer))


_MACS: dict[str, Callable[[LayerCall], int]] = {
    "Dense": _each_position,
    "Conv1D": _each_position,
    "Conv2D": _each_position,
    "Conv3D": _each_position,
    "DepthwiseConv1D": _each_position,
    "DepthwiseConv2D": _each_position,
    "SeparableConv1D": _each_position,
    "SeparableConv2D": _each_position,
    "Conv1DTranspose": _each_input_position,
    "Conv2DTranspose": _each_input_position,
    "Conv3DTranspose": _each_input_position,
}
