"""What counts do not show: names, padding, normalization, size limits, agreement with keras.applications."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from edge.errors import InputError
from edge.models import build


@pytest.mark.parametrize("side", [64, 97], ids=["even", "odd"])
def test_mobilenet_v2_is_the_one_of_keras_applications(side, small):
    shaken = small[1]
    theirs = shaken(keras.applications.MobileNetV2((side, side, 3), alpha=0.35, weights=None, classes=7))
    ours = build("mobilenet_v2", alpha=0.35, image_size=side, classes=7)
    named = [layer for layer in theirs.layers if layer.weights or isinstance(layer, layers.ReLU | layers.Add)]
    assert [layer.name for layer in named] == [
        layer.name for layer in ours.layers if layer.weights or isinstance(layer, layers.ReLU | layers.Add)
    ]
    ours.set_weights(theirs.get_weights())
    pictures = np.random.default_rng(1).uniform(-1, 1, (2, side, side, 3)).astype(np.float32)
    features = [keras.Model(model.input, model.get_layer("out_relu").output)(pictures) for model in (ours, theirs)]
    assert np.std(features[0]) > 0.1
    np.testing.assert_array_equal(*features)
    np.testing.assert_array_equal(ours(pictures), theirs(pictures))


def test_symmetric_padding_changes_only_the_zeros_of_the_five_stride_2_layers():
    same = build("mobilenet_v2", alpha=0.35, image_size=64, classes=7)
    symmetric = build("mobilenet_v2", alpha=0.35, image_size=64, classes=7, padding="symmetric")
    zeros = [layer for layer in symmetric.layers if isinstance(layer, layers.ZeroPadding2D)]
    assert [layer.name for layer in zeros] == ["Conv1_pad", *(f"block_{index}_pad" for index in (1, 3, 6, 13))]
    assert {layer.padding for layer in zeros} == {((1, 1), (1, 1))}
    halving = [layer for layer in symmetric.layers if getattr(layer, "strides", (1, 1)) == (2, 2)]
    assert [(layer.name, layer.padding) for layer in halving] == [
        ("Conv1", "valid"),
        *((f"block_{index}_depthwise", "valid") for index in (1, 3, 6, 13)),
    ]
    weighted = [layer for layer in same.layers if layer.weights]
    assert [(layer.name, layer.output.shape) for layer in weighted] == [
        (layer.name, layer.output.shape) for layer in symmetric.layers if layer.weights
    ]


def test_mobilenet_v1_is_the_one_of_keras_applications(small):
    shaken, side = small[1], 64
    theirs = shaken(keras.applications.MobileNet((side, side, 3), alpha=0.3, weights=None, include_top=False))
    ours = build("mobilenet_v1", alpha=0.3, image_size=side, classes=7)
    features = keras.Model(ours.input, ours.get_layer("conv_pw_13_relu").output)
    assert [layer.name for layer in features.layers if layer.weights] == [
        layer.name for layer in theirs.layers if layer.weights
    ]
    features.set_weights(theirs.get_weights())
    pictures = np.random.default_rng(1).uniform(-1, 1, (2, side, side, 3)).astype(np.float32)
    found = features(pictures)
    assert np.std(found) > 0.1
    np.testing.assert_array_equal(found, theirs(pictures))


@pytest.mark.parametrize(
    ("name", "zeros"), [("mobilenet_v1", (1, 1, 1, 1, 1)), ("efficientnet_lite0", (1, 1, 2, 1, 2))]
)
def test_symmetric_padding_of_separable_networks(name, zeros):
    same, symmetric = (build(name, image_size=64, classes=3, padding=padding) for padding in ("same", "symmetric"))
    pads = [layer.padding for layer in symmetric.layers if isinstance(layer, layers.ZeroPadding2D)]
    assert pads == [((each, each), (each, each)) for each in zeros]
    odd = [layer.padding for layer in same.layers if isinstance(layer, layers.ZeroPadding2D)]
    assert odd == [((each - 1, each), (each - 1, each)) for each in zeros]
    assert [layer.output.shape for layer in same.layers if layer.weights] == [
        layer.output.shape for layer in symmetric.layers if layer.weights
    ]


def test_zeros_stand_where_tensorflow_puts_them():
    keras.utils.set_random_seed(3)
    ours = build("efficientnet_lite0", image_size=64, classes=3)
    padded = ours.get_layer("block3a_pad").input
    depthwise = ours.get_layer("block3a_depthwise")
    theirs = layers.DepthwiseConv2D(5, strides=2, padding="same", use_bias=False)
    side = keras.Model(ours.input, [depthwise.output, theirs(padded)])
    theirs.set_weights(depthwise.get_weights())
    found, wanted = side(np.random.default_rng(1).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_simplenet_normalizes_all_thirteen_convolutions():
    model = build("simplenet_cifar_310k", dropout=0.3)
    normalized = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    assert [layer.name for layer in normalized] == [f"conv{number}_bn" for number in range(1, 14)]
    assert {(layer.epsilon, layer.momentum) for layer in normalized} == {(1e-5, 0.95)}
    assert [layer.kernel_size for layer in model.layers if isinstance(layer, layers.Conv2D)] == [
        *[(3, 3)] * 10, (1, 1), (1, 1), (3, 3)
    ]  # fmt: skip
    assert model.get_layer("dropout").rate == 0.3


@pytest.mark.parametrize(
    ("name", "maps"),
    [
        ("simplenetv1_small_m1_05", [112, 56, 28, 28, 28, 28, 14, 14, 14, 14, 7, 7, 7]),
        ("simplenetv1_small_m2_05", [112, 56, 56, 28, 28, 28, 14, 14, 14, 14, 7, 7, 7]),
    ],
)
def test_simplenet_maps_for_imagenet(name, maps):
    for padding in ("symmetric", "same"):
        model = build(name, padding=padding)
        convolutions = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
        assert [layer.output.shape[1] for layer in convolutions] == maps
        pads = [layer.name for layer in model.layers if isinstance(layer, layers.ZeroPadding2D)]
        assert len(pads) == (3 if padding == "symmetric" else 0)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("simplenet_cifar_310k", 16),
        ("simplenet_cifar_5m_extra_pool", 32),
        ("simplenetv1_small_m1_05", 25),
        ("mobilenet_v2", 32),
        ("mobilenet_v1", 32),
        ("efficientnet_lite0", 32),
    ],
)
def test_pictures_too_small(name, least):
    with pytest.raises(InputError, match=f"image_size is {least - 1}.* at least {least}") as caught:
        build(name, image_size=least - 1)
    assert f"--image-size {least} or more" in caught.value.hint
    assert build(name, image_size=least, classes=2).output_shape == (None, 2)
