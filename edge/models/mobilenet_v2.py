"""MobileNetV2 (arXiv 1801.04381, Table 2), layer for layer as keras.applications builds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from edge.models.separable import normalized, require_side, zeros_before

# Rows of Table 2: expansion, output channels, number of blocks, stride of the first block. Seventeen blocks in all.
ROWS = (
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

    Layers bear the names of keras.applications, so that its weight files fit; `padding` "symmetric" changes only the
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
    for expansion, width, repeats, stride in ROWS:
        for repeat in range(repeats):
            # Two roundings, int() first, as in keras.applications: they differ for a few widths.
            channels = channels_for(int(width * alpha))
            step = stride if repeat == 0 else 1
            x = _block(x, block, expansion=expansion, channels=channels, stride=step, symmetric=symmetric)
            block += 1
    last = channels_for(_LAST_CHANNELS * alpha) if alpha > 1 else _LAST_CHANNELS
    x = layers.Conv2D(last, 1, use_bias=False, name="Conv_1")(x)
    x = layers.ReLU(6.0, name="out_relu")(_normalized(x, "Conv_1_bn"))
    x = layers.GlobalAveragePooling2D(name="global_average_pooling2d")(x)
    x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, x, name=f"mobilenetv2_{alpha:0.2f}_{image_size}")


def _stem(x: Any, *, channels: int, symmetric: bool) -> Any:  # noqa: ANN401
    if symmetric:
        x = layers.ZeroPadding2D(1, name="Conv1_pad")(x)
    mode = "valid" if symmetric else "same"
    x = layers.Conv2D(channels, 3, strides=2, padding=mode, use_bias=False, name="Conv1")(x)
    return layers.ReLU(6.0, name="Conv1_relu")(_normalized(x, "bn_Conv1"))


def _block(x: Any, index: int, *, expansion: int, channels: int, stride: int, symmetric: bool) -> Any:  # noqa: ANN401
    inputs, named = x, _names(index)
    if expansion > 1:
        x = layers.Conv2D(expansion * inputs.shape[-1], 1, padding="same", use_bias=False, name=named("expand"))(x)
        x = layers.ReLU(6.0, name=named("expand_relu"))(_normalized(x, named("expand_BN")))
    if stride == 2:
        x = layers.ZeroPadding2D(zeros_before(x.shape[1], kernel=3, symmetric=symmetric), name=named("pad"))(x)
    mode = "valid" if stride == 2 else "same"
    x = layers.DepthwiseConv2D(3, strides=stride, padding=mode, use_bias=False, name=named("depthwise"))(x)
    x = layers.ReLU(6.0, name=named("depthwise_relu"))(_normalized(x, named("depthwise_BN")))
    x = layers.Conv2D(channels, 1, padding="same", use_bias=False, name=named("project"))(x)
    x = _normalized(x, named("project_BN"))
    if stride == 1 and inputs.shape[-1] == channels:
        return layers.Add(name=named("add"))([inputs, x])
    return x


def _names(index: int) -> Callable[[str], str]:
    prefix = f"block_{index}" if index else "expanded_conv"
    return lambda part: f"{prefix}_{part}"


def _normalized(x: Any, name: str) -> Any:  # noqa: ANN401
    return normalized(x, name, momentum=0.999)
