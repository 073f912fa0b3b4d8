"""Builds EfficientNet-Lite0: EfficientNet-B0 (arXiv 1905.11946, Table 1) as its authors reduced it for edge devices.

Differences to B0: no squeeze-and-excite branches, ReLU6 in place of swish, the same widths.

    stem 3x3 stride 2 -> rows of inverted residuals -> 1x1 to 1280 -> mean over the map -> dropout -> dense softmax

An inverted residual is: 1x1 to `expansion` times the channels (left out at 1), depthwise, 1x1 without activation, plus
its input where shapes agree. Batch normalization follows every convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from edge.models.mobilenet import normalize, require_side, zeros_before

_STEM_CHANNELS = 32
_LAST_CHANNELS = 1280


@dataclass(frozen=True)
class BlockRow:
    """Blocks of one shape; only the first has the stride."""

    expansion: int
    channels: int
    repeats: int
    stride: int
    kernel: int


ROWS = (
    BlockRow(expansion=1, channels=16, repeats=1, stride=1, kernel=3),
    BlockRow(expansion=6, channels=24, repeats=2, stride=2, kernel=3),
    BlockRow(expansion=6, channels=40, repeats=2, stride=2, kernel=5),
    BlockRow(expansion=6, channels=80, repeats=3, stride=2, kernel=3),
    BlockRow(expansion=6, channels=112, repeats=3, stride=1, kernel=5),
    BlockRow(expansion=6, channels=192, repeats=4, stride=2, kernel=5),
    BlockRow(expansion=6, channels=320, repeats=1, stride=1, kernel=3),
)


def efficientnet_lite0(*, image_size: int, classes: int, padding: str, dropout: float) -> Any:  # noqa: ANN401
    """Build the classifier; called through `edge.models.build`.

    Args:
        image_size: height and width, pixels; at least 32.
        classes: outputs of the softmax.
        padding: of the five stride-2 layers: "same" as in the source, or "symmetric": a pixel of zeros on each side of
            3x3 kernels, two of 5x5 ones, as sparse inference in XNNPACK requires. The shapes are the same.
        dropout: rate before the classifier.

    Raises:
        InputError: the image is smaller than 32 pixels.
    """
    require_side("efficientnet_lite0", image_size)
    symmetric = padding == "symmetric"
    inputs = layers.Input((image_size, image_size, 3))
    x = layers.ZeroPadding2D(zeros_before(image_size, kernel=3, symmetric=symmetric), name="stem_pad")(inputs)
    x = layers.Conv2D(_STEM_CHANNELS, 3, strides=2, use_bias=False, name="stem")(x)
    x = _activate(x, "stem")
    for row_number, row in enumerate(ROWS, start=1):
        for repeat in range(row.repeats):
            stride = row.stride if repeat == 0 else 1
            x = _block(x, f"block{row_number}{chr(ord('a') + repeat)}", row=row, stride=stride, symmetric=symmetric)
    x = layers.Conv2D(_LAST_CHANNELS, 1, use_bias=False, name="top")(x)
    x = _activate(x, "top")
    x = layers.GlobalAveragePooling2D(name="global_average_pooling2d")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, x, name="efficientnet_lite0")


def _block(x: Any, name: str, *, row: BlockRow, stride: int, symmetric: bool) -> Any:  # noqa: ANN401
    inputs = x
    if row.expansion > 1:
        x = layers.Conv2D(row.expansion * x.shape[-1], 1, use_bias=False, name=f"{name}_expand")(x)
        x = _activate(x, f"{name}_expand")
    if stride == 2:
        zeros = zeros_before(x.shape[1], kernel=row.kernel, symmetric=symmetric)
        x = layers.ZeroPadding2D(zeros, name=f"{name}_pad")(x)
    mode = "valid" if stride == 2 else "same"
    x = layers.DepthwiseConv2D(row.kernel, strides=stride, padding=mode, use_bias=False, name=f"{name}_depthwise")(x)
    x = _activate(x, f"{name}_depthwise")
    x = layers.Conv2D(row.channels, 1, use_bias=False, name=f"{name}_project")(x)
    x = normalize(x, f"{name}_project_bn")
    if stride == 1 and inputs.shape[-1] == row.channels:
        return layers.Add(name=f"{name}_add")([inputs, x])
    return x


def _activate(x: Any, name: str) -> Any:  # noqa: ANN401
    return layers.ReLU(6.0, name=f"{name}_relu")(normalize(x, f"{name}_bn"))
