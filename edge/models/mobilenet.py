"""Builds MobileNetV1 (arXiv 1704.04861, Table 1) and MobileNetV2 (arXiv 1801.04381, Table 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from edge.errors import InputError

# Stride of the depthwise convolution, output channels of the 1x1 convolution behind it.
V1_PAIRS = (
    (1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512),
    (1, 512), (1, 512), (1, 512), (1, 512), (1, 512), (2, 1024), (1, 1024),
)  # fmt: skip


def mobilenet_v1(*, alpha: float, image_size: int, classes: int, padding: str) -> Any:  # noqa: ANN401
    """Build the classifier; called through `edge.models.build`.

    Batch normalization and ReLU6 follow every convolution; layers have the names of keras.applications, but the
    classifier is a dense layer. `padding` "symmetric" puts one pixel of zeros on each side of the five stride-2 layers
    (as in PyTorch and Caffe, and as sparse inference in XNNPACK requires); the shapes are the same.

    Args:
        alpha: width multiplier: int(channels * alpha) channels, at least 1.
        image_size: height and width, pixels; at least 32.
        classes: outputs of the softmax.
        padding: "same" or "symmetric".

    Raises:
        InputError: the image is smaller than 32 pixels.
    """
    require_side("mobilenet_v1", image_size)
    symmetric = padding == "symmetric"
    inputs = layers.Input((image_size, image_size, 3))
    x = layers.ZeroPadding2D(zeros_before(image_size, kernel=3, symmetric=symmetric), name="conv1_pad")(inputs)
    x = layers.Conv2D(_width(_STEM_CHANNELS, alpha), 3, strides=2, use_bias=False, name="conv1")(x)
    x = _activate(x, "conv1")
    for number, (stride, channels) in enumerate(V1_PAIRS, start=1):
        x = _pair(x, number, stride=stride, channels=_width(channels, alpha), symmetric=symmetric)
    x = layers.GlobalAveragePooling2D(name="global_average_pooling2d")(x)
    x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, x, name="mobilenet_v1")


def _pair(x: Any, number: int, *, stride: int, channels: int, symmetric: bool) -> Any:  # noqa: ANN401
    if stride == 2:
        zeros = zeros_before(x.shape[1], kernel=3, symmetric=symmetric)
        x = layers.ZeroPadding2D(zeros, name=f"conv_pad_{number}")(x)
    mode = "valid" if stride == 2 else "same"
    x = layers.DepthwiseConv2D(3, strides=stride, padding=mode, use_bias=False, name=f"conv_dw_{number}")(x)
    x = _activate(x, f"conv_dw_{number}")
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"conv_pw_{number}")(x)
    return _activate(x, f"conv_pw_{number}")


def _width(channels: int, alpha: float) -> int:
    return max(1, int(channels * alpha))


def _activate(x: Any, name: str) -> Any:  # noqa: ANN401
    return layers.ReLU(6.0, name=f"{name}_relu")(normalize(x, f"{name}_bn"))


# Rows of Table 2: expansion, output channels, number of blocks, stride of the first block. Seventeen blocks in all.
V2_ROWS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_STEM_CHANNELS = 32
_LAST_CHANNELS = 1280
_DIVISOR = 8


def channels_for(width: float) -> int:
    """Round a channel number to the nearest multiple of 8, at least 8, never below 90 % of `width`."""
    rounded = max(_DIVISOR, int(width + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
    return rounded + _DIVISOR if rounded < 0.9 * width else rounded


def mobilenet_v2(*, alpha: float, image_size: int, classes: int, padding: str) -> Any:  # noqa: ANN401
    """Build the classifier; called through `edge.models.build`.

    Layers have the names of keras.applications, so that its weight files fit; `padding` "symmetric" changes only the
    explicit zeros before the five stride-2 layers (one pixel on each side, as in PyTorch and Caffe, and as sparse
    inference in XNNPACK wants), not the shapes.

    Args:
        alpha: width multiplier; the last convolution keeps 1280 channels below 1 (section 4 of the paper).
        image_size: height and width, pixels; at least 32.
        classes: outputs of the softmax.
        padding: "same" or "symmetric".

    Raises:
        InputError: the image is smaller than 32 pixels.
    """
    require_side("mobilenet_v2", image_size)
    symmetric = padding == "symmetric"
    inputs = layers.Input((image_size, image_size, 3))
    x = _stem(inputs, channels=channels_for(_STEM_CHANNELS * alpha), symmetric=symmetric)
    block = 0
    for expansion, width, repeats, stride in V2_ROWS:
        for repeat in range(repeats):
            # Two roundings, int() first, as in keras.applications: they differ for a few widths.
            channels = channels_for(int(width * alpha))
            step = stride if repeat == 0 else 1
            x = _block(x, block, expansion=expansion, channels=channels, stride=step, symmetric=symmetric)
            block += 1
    last = channels_for(_LAST_CHANNELS * alpha) if alpha > 1 else _LAST_CHANNELS
    x = layers.Conv2D(last, 1, use_bias=False, name="Conv_1")(x)
    x = layers.ReLU(6.0, name="out_relu")(_normalize_v2(x, "Conv_1_bn"))
    x = layers.GlobalAveragePooling2D(name="global_average_pooling2d")(x)
    x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, x, name=f"mobilenetv2_{alpha:0.2f}_{image_size}")


def _stem(x: Any, *, channels: int, symmetric: bool) -> Any:  # noqa: ANN401
    if symmetric:
        x = layers.ZeroPadding2D(1, name="Conv1_pad")(x)
    mode = "valid" if symmetric else "same"
    x = layers.Conv2D(channels, 3, strides=2, padding=mode, use_bias=False, name="Conv1")(x)
    return layers.ReLU(6.0, name="Conv1_relu")(_normalize_v2(x, "bn_Conv1"))


def _block(x: Any, index: int, *, expansion: int, channels: int, stride: int, symmetric: bool) -> Any:  # noqa: ANN401
    inputs, named = x, _names(index)
    if expansion > 1:
        x = layers.Conv2D(expansion * inputs.shape[-1], 1, padding="same", use_bias=False, name=named("expand"))(x)
        x = layers.ReLU(6.0, name=named("expand_relu"))(_normalize_v2(x, named("expand_BN")))
    if stride == 2:
        x = layers.ZeroPadding2D(zeros_before(x.shape[1], kernel=3, symmetric=symmetric), name=named("pad"))(x)
    mode = "valid" if stride == 2 else "same"
    x = layers.DepthwiseConv2D(3, strides=stride, padding=mode, use_bias=False, name=named("depthwise"))(x)
    x = layers.ReLU(6.0, name=named("depthwise_relu"))(_normalize_v2(x, named("depthwise_BN")))
    x = layers.Conv2D(channels, 1, padding="same", use_bias=False, name=named("project"))(x)
    x = _normalize_v2(x, named("project_BN"))
    if stride == 1 and inputs.shape[-1] == channels:
        return layers.Add(name=named("add"))([inputs, x])
    return x


def _names(index: int) -> Callable[[str], str]:
    prefix = f"block_{index}" if index else "expanded_conv"
    return lambda part: f"{prefix}_{part}"


def _normalize_v2(x: Any, name: str) -> Any:  # noqa: ANN401
    return normalize(x, name, momentum=0.999)


SMALLEST_SIDE = 32
Zeros = tuple[tuple[int, int], tuple[int, int]]


def zeros_before(side: int, *, kernel: int, symmetric: bool) -> Zeros:
    """Return the zeros around a square map before a stride-2 convolution with `valid` padding.

    Args:
        side: height and width of the map.
        kernel: 3 or 5.
        symmetric: as many on every side; otherwise the odd one comes last, as TensorFlow pads ("same"), which on odd
            maps is symmetric too.
    """
    half = kernel // 2
    before = half if symmetric or side % 2 else half - 1
    return ((before, half), (before, half))


def normalize(x: Any, name: str, *, momentum: float = 0.99) -> Any:  # noqa: ANN401
    """Add batch normalization with the epsilon of TensorFlow's own networks."""
    return layers.BatchNormalization(epsilon=1e-3, momentum=momentum, name=name)(x)


def require_side(name: str, image_size: int) -> None:
    """Refuse images that are too small to be halved five times.

    Raises:
        InputError: the image is smaller than 32 pixels.
    """
    if image_size < SMALLEST_SIDE:
        raise InputError(
            f"{name}: image_size is {image_size}; it is halved five times and must be at least {SMALLEST_SIDE}",
            hint=f"--image-size {SMALLEST_SIDE} or more; the published sizes are 96, 128, 160, 192 and 224",
        )
