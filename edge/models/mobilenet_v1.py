"""MobileNetV1 (arXiv 1704.04861, Table 1): thirteen pairs of depthwise and 1x1 convolutions."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from edge.models.separable import normalized, require_side, zeros_before

# Stride of the depthwise convolution, output channels of the 1x1 convolution behind it.
PAIRS = (
    (1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512),
    (1, 512), (1, 512), (1, 512), (1, 512), (1, 512), (2, 1024), (1, 1024),
)  # fmt: skip
_STEM_CHANNELS = 32


def mobilenet_v1(*, alpha: float, image_size: int, classes: int, padding: str) -> Any:  # noqa: ANN401
    """Build the classifier; called through `edge.models.build`.

    Batch normalization and ReLU6 follow every convolution; layers bear the names of keras.applications, but the
    classifier is a dense layer. `padding` "symmetric" puts one pixel of zeros on each side of the five stride-2 layers
    (as PyTorch and Caffe, and as sparse inference in XNNPACK wants); the shapes are the same.

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
    x = _activated(x, "conv1")
    for number, (stride, channels) in enumerate(PAIRS, start=1):
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
    x = _activated(x, f"conv_dw_{number}")
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"conv_pw_{number}")(x)
    return _activated(x, f"conv_pw_{number}")


def _width(channels: int, alpha: float) -> int:
    return max(1, int(channels * alpha))


def _activated(x: Any, name: str) -> Any:  # noqa: ANN401
    return layers.ReLU(6.0, name=f"{name}_relu")(normalized(x, f"{name}_bn"))
