"""Builds SimpleNet V1 (arXiv 1608.06037) as its PyTorch port does: batch normalization on all 13 convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from edge.errors import InputError

_POOL = 0
# Channels of the 13 convolutions in order; 0 is a 2x2 max pool; a negative number is a 1x1 convolution, else 3x3.
_CIFAR = {
    "simplenet_cifar_5m": (64, 128, 128, 128, _POOL, 128, 128, 256, _POOL, 256, 256, _POOL, 512,
                           -2048, -256, _POOL, 256),
    "simplenet_cifar_5m_extra_pool": (64, 128, 128, 128, _POOL, 128, 128, 256, _POOL, 256, 256, _POOL, 512, _POOL,
                                      -2048, -256, _POOL, 256),
    "simplenet_cifar_310k": (64, 32, 32, 32, _POOL, 32, 32, 64, _POOL, 64, 64, _POOL, 128, -256, -64, _POOL, 64),
}  # fmt: skip
_IMAGENET_5M = (64, 128, 128, 128, 128, 128, _POOL, 256, 256, 256, 512, _POOL, -2048, -256, 256)
_IMAGENET_9M = (128, 192, 192, 192, 192, 192, _POOL, 320, 320, 320, 640, _POOL, -2560, -320, 320)
# name: channels, factor on them, numbers of the convolutions with stride 2
_M1, _M2 = (1, 2, 3), (1, 2, 4)
_IMAGENET = {
    "simplenetv1_small_m1_05": (_IMAGENET_5M, 0.5, _M1),
    "simplenetv1_small_m2_05": (_IMAGENET_5M, 0.5, _M2),
    "simplenetv1_small_m1_075": (_IMAGENET_5M, 0.75, _M1),
    "simplenetv1_small_m2_075": (_IMAGENET_5M, 0.75, _M2),
    "simplenetv1_5m_m1": (_IMAGENET_5M, 1.0, _M1),
    "simplenetv1_5m_m2": (_IMAGENET_5M, 1.0, _M2),
    "simplenetv1_9m_m1": (_IMAGENET_9M, 1.0, _M1),
    "simplenetv1_9m_m2": (_IMAGENET_9M, 1.0, _M2),
}


@dataclass(frozen=True)
class _Plan:
    """A network's layers and options; `halving` are the numbers (from 1) of the convolutions with stride 2."""

    name: str
    channels: tuple[int, ...]
    halving: tuple[int, ...]
    padding: str
    classes: int
    image_size: int
    dropout: float


def simplenet_cifar(*, name: str, image_size: int, classes: int, dropout: float) -> Any:  # noqa: ANN401
    """Build a network for small pictures (source: cifar/models/simplenet.py); called through `edge.models.build`.

    Args:
        name: the registered name; "..._extra_pool" has one more pool after layer 10: the published checkpoints' layout.
        image_size: height and width, pixels; at least 16, with the extra pool 32.
        classes: outputs of the softmax.
        dropout: rate before the classifier; the source's default is 0.

    Raises:
        InputError: the image is so small that a pool gets less than 2x2 pixels.
    """
    return _network(
        _Plan(
            name=name,
            channels=_CIFAR[name],
            halving=(),
            padding="same",
            classes=classes,
            image_size=image_size,
            dropout=dropout,
        )
    )


def simplenet_imagenet(*, name: str, image_size: int, classes: int, padding: str, dropout: float) -> Any:  # noqa: ANN401
    """Build a network for ImageNet (source: imagenet/simplenet.py); called through `edge.models.build`.

    Args:
        name: the registered name; "m1" has stride 2 in convolutions 1, 2, 3, "m2" in 1, 2, 4 (a larger map in the
            third, more MACs); "05" and "075" have half and three quarters of the channels of "5m".
        image_size: height and width, pixels; at least 25.
        classes: outputs of the softmax.
        padding: of stride-2 convolutions: "symmetric" as in the source, or "same" as TensorFlow pads.
        dropout: rate before the classifier; the source's default is 0.

    Raises:
        InputError: the image is so small that a pool gets less than 2x2 pixels.
    """
    base, factor, halving = _IMAGENET[name]
    return _network(
        _Plan(
            name=name,
            channels=tuple(round(channels * factor) for channels in base),
            halving=halving,
            padding=padding,
            classes=classes,
            image_size=image_size,
            dropout=dropout,
        )
    )


def _network(plan: _Plan) -> Any:  # noqa: ANN401
    _check_size(plan)
    inputs = x = layers.Input((plan.image_size, plan.image_size, 3))
    convolution = pool = 0
    for channels in plan.channels:
        if channels == _POOL:
            pool += 1
            x = layers.MaxPooling2D(2, name=f"pool{pool}")(x)
        else:
            convolution += 1
            x = _unit(x, convolution, channels=channels, plan=plan)
    x = layers.GlobalMaxPooling2D(name="global_pool")(x)
    x = layers.Dropout(plan.dropout, name="dropout")(x)
    x = layers.Dense(plan.classes, activation="softmax", name="classifier")(x)
    return keras.Model(inputs, x, name=plan.name)


def _unit(x: Any, number: int, *, channels: int, plan: _Plan) -> Any:  # noqa: ANN401
    """Add convolution with bias, batch normalization, ReLU."""
    halves = number in plan.halving
    explicit = halves and plan.padding == "symmetric"
    if explicit:
        x = layers.ZeroPadding2D(1, name=f"conv{number}_pad")(x)
    x = layers.Conv2D(
        abs(channels),
        1 if channels < 0 else 3,
        strides=2 if halves else 1,
        padding="valid" if explicit else "same",
        # Xavier-uniform with the gain of ReLU, the square root of 2.
        kernel_initializer=keras.initializers.VarianceScaling(2.0, mode="fan_avg", distribution="uniform"),
        name=f"conv{number}",
    )(x)
    x = layers.BatchNormalization(momentum=0.95, epsilon=1e-5, name=f"conv{number}_bn")(x)
    return layers.ReLU(name=f"conv{number}_relu")(x)


def _check_size(plan: _Plan) -> None:
    side = _side_after(plan, plan.image_size)
    if side >= 1:
        return
    least = next(size for size in range(plan.image_size + 1, 1 << 16) if _side_after(plan, size) >= 1)
    raise InputError(
        f"{plan.name}: image_size is {plan.image_size}; its {plan.channels.count(_POOL)} pools need at least {least} "
        "pixels (below that a 2x2 pool gets a map of one pixel)",
        hint=f"--image-size {least} or more; pictures can be scaled up",
    )


def _side_after(plan: _Plan, side: int) -> int:
    number = 0
    for channels in plan.channels:
        number += channels != _POOL
        if channels == _POOL:
            side //= 2
        elif number in plan.halving:
            side = (side + 1) // 2
    return side
