"""Puts the weights of a .tflite file back into a Keras model of the same architecture, whole or not at all.

A .tflite file holds convolutions with batch normalization folded in. The Keras layer gets the folded kernel, and its
batch normalization becomes an exact identity plus bias: gamma 1, mean 0, beta the bias, and a variance that gives
exactly 1.0 when epsilon is added in float32, whose reciprocal square root is exactly 1.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.errors import InputError
from edge.models.layer_counts import LayerCall, list_calls
from edge.models.tflite_weights import Floats, TFLiteWeights, WeightedOperator, same_zeros

_OPERATORS = {
    "Conv2D": ("CONV_2D", "FULLY_CONNECTED"),
    "DepthwiseConv2D": ("DEPTHWISE_CONV_2D",),
    "Dense": ("FULLY_CONNECTED", "CONV_2D"),
}
_NORMALIZATION = "BatchNormalization"
_INPUT_SCALING = ("Rescaling", "Normalization")
_MOST_NAMED = 3


@dataclass(frozen=True)
class _Site:
    """A Keras layer that takes an operator's weights, with its batch normalization and neighbours."""

    layer: Any
    kind: str
    normalization: Any | None
    pads: tuple[int, int, int, int] | None
    activation: str | None


@dataclass(frozen=True)
class Transfer:
    """The result of planning a transfer: variables of a Keras model with their new values, and remarks for the user."""

    assignments: tuple[tuple[Any, Floats], ...]
    notes: tuple[str, ...]

    def apply(self) -> None:
        """Set all variables."""
        for variable, value in self.assignments:
            variable.assign(value)


def plan_transfer(model: Any, weights: TFLiteWeights) -> Transfer:  # noqa: ANN401  (a keras.Model)
    """Match a file's operators to a Keras model's layers in execution order and compute all values without setting any.

    Raises:
        InputError: number, kind, shape, stride or activation of a layer differs (the message names the layer, what it
            needs and what the file has), or the model has a layer whose values a .tflite file does not hold as such.
    """
    sites = _sites(model)
    pairs = list(zip(sites, weights.operators, strict=False))
    for number, (site, operator) in enumerate(pairs, 1):
        _check(site, operator, number)
    if len(sites) != len(weights.operators):
        raise InputError(
            f"the model {model.name!r} has {len(sites)} convolution and dense layers, the file "
            f"{len(weights.operators)} (the first {len(pairs)} fit each other)",
            hint="build the same architecture that the file was made from",
        )
    _check_scalings(model, weights.scalings)
    assignments = [pair for site, operator in pairs for pair in _assignments(site, operator)]
    return Transfer(tuple(assignments), _padding_notes(pairs))


def unit_variance(epsilon: float) -> np.float32:
    """Return the float32 variance to which adding `epsilon` in float32 gives exactly 1.0.

    Raises:
        ValueError: there is none (epsilon is not between 0 and 1).
    """
    one, small = np.float32(1), np.float32(epsilon)
    start = one - small
    for candidate in (start, np.nextafter(start, one), np.nextafter(start, np.float32(0))):
        if candidate > 0 and candidate + small == one:
            return np.float32(candidate)
    raise ValueError(f"no float32 variance gives 1.0 with epsilon {epsilon}")


def _sites(model: Any) -> list[_Site]:  # noqa: ANN401
    order = list_calls(model)
    readers: dict[int, list[LayerCall]] = {}
    for call in order:
        for tensor in call.inputs:
            readers.setdefault(tensor, []).append(call)
    producers = {tensor: call for call in order for tensor in call.outputs}
    sites = [_site(call, readers, producers) for call in order if call.kind in _OPERATORS]
    _check_covered(order, sites)
    return sites


def _site(call: LayerCall, readers: dict[int, list[LayerCall]], producers: dict[int, LayerCall]) -> _Site:
    after = _only_reader(call, readers)
    own = _activation_name(call.layer)
    follower = after if after is not None and after.kind == _NORMALIZATION and own == "linear" else None
    behind = _only_reader(follower or call, readers)
    return _Site(
        layer=call.layer,
        kind=call.kind,
        normalization=follower.layer if follower else None,
        pads=None if call.kind == "Dense" else _pads(call, producers.get(call.inputs[0])),
        activation=own if own != "linear" else _following_activation(behind),
    )


def _only_reader(call: LayerCall, readers: dict[int, list[LayerCall]]) -> LayerCall | None:
    found = [reader for tensor in call.outputs for reader in readers.get(tensor, [])]
    return found[0] if len(found) == 1 else None


def _activation_name(layer: Any) -> str | None:  # noqa: ANN401
    return getattr(layer.activation, "__name__", None)


def _following_activation(call: LayerCall | None) -> str | None:
    """Return the activation a call applies, None where it is not one TFLite fuses into a convolution."""
    if call is None:
        return None
    if call.kind == "Activation":
        return _activation_name(call.layer)
    if call.kind == "ReLU" and not (call.layer.negative_slope or call.layer.threshold):
        return {None: "relu", 6.0: "relu6"}.get(call.layer.max_value)
    return None


def _pads(call: LayerCall, before: LayerCall | None) -> tuple[int, int, int, int] | None:
    layer, extra = call.layer, (0, 0, 0, 0)
    if before is not None and before.kind == "ZeroPadding2D":
        (top, bottom), (left, right) = before.layer.padding
        extra = (top, bottom, left, right)
    if layer.padding != "same":
        return extra
    sides = call.input_shapes[0][1:3]
    each = zip(sides, layer.kernel_size, layer.strides, layer.dilation_rate, strict=True)
    own = [same_zeros(side, kernel, step, wide) for side, kernel, step, wide in each if side is not None]
    if len(own) != len(sides):
        return None
    (top, bottom), (left, right) = own
    return (top + extra[0], bottom + extra[1], left + extra[2], right + extra[3])


def _check_covered(order: Sequence[LayerCall], sites: Sequence[_Site]) -> None:
    """Refuse a model with values that the file does not set."""
    covered = [site.layer for site in sites] + [site.normalization for site in sites]
    if len({id(site.layer) for site in sites}) < len(sites):
        raise InputError("the model calls a layer several times; weights of a .tflite file cannot be put back into it")
    for call in order:
        variables = getattr(call.layer, "weights", ())
        if variables and call.kind != "Normalization" and not any(call.layer is layer for layer in covered):
            raise InputError(
                f"the layer {call.layer.name!r} ({call.kind}) has values that cannot be read back from a .tflite file: "
                "only convolutions, dense layers and the batch normalization right after them can",
                hint="load such a model from its .keras or .weights.h5 file",
            )


def _check(site: _Site, operator: WeightedOperator, number: int) -> None:
    where = f"weighted layer {number}, {site.layer.name!r} ({site.kind})"
    if operator.op not in _OPERATORS[site.kind]:
        raise InputError(
            f"{where} expects {' or '.join(_OPERATORS[site.kind])}; the file has {operator.op} there (operator "
            f"{operator.index})",
            hint="build the same architecture that the file was made from",
        )
    kernel, target = _as_keras(site, operator), tuple(site.layer.kernel.shape)
    if kernel is None or kernel.shape != target:
        found = list(operator.kernel.shape if kernel is None else kernel.shape)
        raise InputError(
            f"{where} expects a kernel of shape {list(target)}; the file has {found} (operator {operator.index})",
            hint=_shape_hint(site, found),
        )
    _check_behaviour(site, operator, where)


def _check_behaviour(site: _Site, operator: WeightedOperator, where: str) -> None:
    if site.kind != "Dense" and operator.strides is not None and tuple(site.layer.strides) != operator.strides:
        raise InputError(
            f"{where} has strides {tuple(site.layer.strides)}; in the file they are {operator.strides}",
            hint="build the same architecture that the file was made from",
        )
    # A quantized file may leave an activation to its output's range, so that "linear" in the file says nothing.
    both = {site.activation, operator.activation}
    if both <= {"relu", "relu6", "tanh"} and len(both) > 1:
        raise InputError(
            f"{where} is followed by {site.activation}; in the file by {operator.activation}",
            hint="build the same architecture that the file was made from",
        )


def _shape_hint(site: _Site, found: list[int]) -> str:
    if site.kind == "Dense" and found[0] == site.layer.kernel.shape[0]:
        return f"the file has {found[-1]} classes: build the model with --classes {found[-1]}"
    return "build the model with the width (alpha), classes and architecture that the file was made from"


def _check_scalings(model: Any, scalings: tuple[str, ...]) -> None:  # noqa: ANN401
    scales_itself = any(call.kind in _INPUT_SCALING for call in list_calls(model))
    if scalings and not scales_itself:
        raise InputError(
            f"the file scales or shifts values by constants of its own: {', '.join(scalings[:_MOST_NAMED])}; the model "
            f"{model.name!r} has no such layer (a batch normalization that was not folded, or scaling of the input)",
            hint="build the same architecture that the file was made from",
        )


def _as_keras(site: _Site, operator: WeightedOperator) -> Floats | None:
    """Return the kernel in the layer's layout; None where the two kinds cannot hold the same numbers."""
    kernel = operator.kernel
    if operator.op == "DEPTHWISE_CONV_2D":
        multiplier = int(site.layer.depth_multiplier)
        if kernel.ndim != 4 or kernel.shape[-1] % multiplier:
            return None
        return kernel.reshape(*kernel.shape[1:3], kernel.shape[3] // multiplier, multiplier)
    if kernel.ndim == 2:
        flat = kernel.T
    elif kernel.shape[1:3] == (1, 1):
        flat = kernel[:, 0, 0, :].T
    else:
        return kernel.transpose(1, 2, 3, 0) if site.kind == "Conv2D" else None
    return flat if site.kind == "Dense" else flat[None, None]


def _assignments(site: _Site, operator: WeightedOperator) -> list[tuple[Any, Floats]]:
    kernel = _as_keras(site, operator)
    assert kernel is not None
    outputs = operator.kernel.shape[3 if operator.op == "DEPTHWISE_CONV_2D" else 0]
    bias = np.zeros(outputs, np.float32) if operator.bias is None else operator.bias
    targets = [(site.layer.kernel, np.ascontiguousarray(kernel)), *_normalization(site.normalization)]
    shift = getattr(site.normalization, "beta", None)
    own = site.layer.bias if site.layer.use_bias else None
    if shift is not None:
        targets.append((shift, bias))
        return targets + ([(own, np.zeros_like(bias))] if own is not None else [])
    if own is not None:
        return [*targets, (own, bias)]
    if bias.any():
        raise InputError(f"the file has a bias for {site.layer.name!r}, which has none and no batch normalization")
    return targets


def _normalization(layer: Any) -> list[tuple[Any, Floats]]:  # noqa: ANN401
    """Return the values that make a batch normalization an exact identity plus shift."""
    if layer is None:
        return []
    shape = tuple(layer.moving_variance.shape)
    scale = [] if layer.gamma is None else [(layer.gamma, np.ones(shape, np.float32))]
    return [
        *scale,
        (layer.moving_mean, np.zeros(shape, np.float32)),
        (layer.moving_variance, np.full(shape, unit_variance(layer.epsilon), np.float32)),
    ]


def _padding_notes(pairs: Sequence[tuple[_Site, WeightedOperator]]) -> tuple[str, ...]:
    other = [
        (site, operator)
        for site, operator in pairs
        if site.pads is not None and operator.pads is not None and site.pads != operator.pads
    ]
    if not other:
        return ()
    names = ", ".join(site.layer.name for site, _ in other[:_MOST_NAMED]) + (
        ", ..." if len(other) > _MOST_NAMED else ""
    )
    site, operator = other[0]
    return (
        f"{len(other)} layers pad differently than the file ({names}; {site.layer.name}: zeros top, bottom, left, "
        f"right {site.pads}, in the file {operator.pads}): expect lower accuracy until the model is fine-tuned",
    )
