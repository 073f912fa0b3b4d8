"""The symmetric variants' converted graphs meet every rule that XNNPACK has for its sparse kernels."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import pytest

from converters.freezing import freeze
from converters.lowering import Lowering
from converters.recipes import recipe_named
from converters.source import from_keras
from converters.sparse.pointwise import find_pointwise_weights, require_sparse_weights
from converters.tflite.values import ModelInfo, OperatorInfo
from edge.models import build
from edge.training.pruning import prunable_layers, prune_magnitude

# name, width, 1x1 convolutions over a map, sides of the depthwise kernels
NETWORKS = (
    ("mobilenet_v1", {"alpha": 0.75}, 13, {3}),
    ("mobilenet_v1", {"alpha": 1.4}, 13, {3}),
    ("mobilenet_v2", {"alpha": 0.8}, 34, {3}),
    ("mobilenet_v2", {"alpha": 1.15}, 34, {3}),
    ("efficientnet_lite0", {}, 32, {3, 5}),
)


@dataclass(frozen=True)
class Converted:
    """One network: its file, as values, and the expected figures."""

    keras_model: object
    data: bytes
    model: ModelInfo
    pointwise: int
    kernels: set[int]


def label(network) -> str:
    return "-".join([network[0], *map(str, network[1].values())])


@pytest.fixture(scope="module", params=NETWORKS, ids=label)
def network(request) -> Converted:
    name, arguments, pointwise, kernels = request.param
    keras.utils.set_random_seed(2)
    model = build(name, image_size=64, classes=10, padding="symmetric", **arguments)
    prune_magnitude(model, 0.8, 2)
    source = from_keras(model, name=name, kind="registry")
    inputs = source.with_static_inputs(batch=1, image_size=None)
    frozen = freeze(source.call, inputs=inputs, output_names=source.output_names)
    lowered = Lowering(frozen, samples=None).lower(recipe_named("sparse"))
    return Converted(model, lowered.content, lowered, pointwise, kernels)


def chain(model: ModelInfo) -> list[OperatorInfo]:
    """The operators that run for each picture."""
    return [operator for operator in model.main.operators if operator.name != "DENSIFY"]


def zeros_in_front(model: ModelInfo, operator: OperatorInfo) -> list[list[int]] | None:
    """The zeros that a PAD puts before an operator: one pair per dimension."""
    maker = model.main.producers().get(operator.inputs[0])
    if maker is None or maker.name != "PAD":
        return None
    return np.frombuffer(model.content_of(model.main.tensors[maker.inputs[1]]), np.int32).reshape(4, 2).tolist()


def around(pixels: int) -> list[list[int]]:
    return [[0, 0], [pixels, pixels], [pixels, pixels], [0, 0]]


def test_it_starts_with_a_3x3_convolution_of_stride_2_and_a_pixel_of_zeros_on_each_side(network):
    stem = next(operator for operator in chain(network.model) if operator.name == "CONV_2D")
    graph = network.model.main
    assert graph.tensors[stem.inputs[1]].shape[1:] == (3, 3, 3)
    assert (stem.options.strides, stem.options.padding, stem.options.dilations) == ((2, 2), "VALID", (1, 1))
    assert zeros_in_front(network.model, stem) == around(1)


def test_inside_there_is_nothing_but_what_sparse_kernels_know(network):
    names = [operator.name for operator in chain(network.model)]
    inside = names[: names.index("MEAN")]
    assert set(inside) <= {"PAD", "CONV_2D", "DEPTHWISE_CONV_2D", "ADD"}
    for operator in chain(network.model)[: len(inside)]:
        if operator.name == "ADD":
            assert len(network.model.main.tensors[operator.outputs[0]].shape) == 4


def test_1x1_convolutions(network):
    found = find_pointwise_weights(network.model)
    assert len(found) == network.pointwise == len(prunable_layers(network.keras_model))
    assert all(kernel.stored_sparse for kernel in found)
    require_sparse_weights(network.model)


def test_depthwise_convolutions(network):
    graph, sides = network.model.main, set()
    for operator in chain(network.model):
        if operator.name != "DEPTHWISE_CONV_2D":
            continue
        side = graph.tensors[operator.inputs[1]].shape[1]
        sides.add(side)
        assert (operator.options.depth_multiplier, operator.options.dilations) == (1, (1, 1))
        if operator.options.strides == (2, 2):
            assert operator.options.padding == "VALID"
            assert zeros_in_front(network.model, operator) == around(side // 2)
        else:
            assert operator.options.strides == (1, 1)
            assert operator.options.padding == "SAME"
    assert sides == network.kernels


def test_it_ends_in_a_mean_over_height_and_width_and_nothing_leaves_before(network):
    operators = network.model.main.operators
    mean = next(operator for operator in operators if operator.name == "MEAN")
    behind = [operator.name for operator in operators[mean.index + 1 :]]
    assert behind == ["FULLY_CONNECTED", "SOFTMAX"]
    inside = {tensor for operator in operators[: mean.index] for tensor in operator.outputs}
    outside = {tensor for operator in operators[mean.index + 1 :] for tensor in operator.inputs}
    assert not inside & outside
    assert not inside & set(network.model.main.outputs)


def test_the_padding_of_keras_breaks_the_first_rule():
    model = build("mobilenet_v1", alpha=0.25, image_size=32, classes=3)
    source = from_keras(model, name="same", kind="registry")
    inputs = source.with_static_inputs(batch=1, image_size=None)
    frozen = freeze(source.call, inputs=inputs, output_names=source.output_names)
    found = Lowering(frozen, samples=None).lower(recipe_named("fp32"))
    stem = next(operator for operator in chain(found) if operator.name == "CONV_2D")
    assert stem.options.padding == "SAME", "one row of zeros below and one column at the right, fused by the converter"
    assert zeros_in_front(found, stem) is None
