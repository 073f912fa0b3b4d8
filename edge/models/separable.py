"""What networks of depthwise and 1x1 convolutions share: explicit zeros, normalization, the smallest picture."""

from __future__ import annotations

from typing import Any

from keras import layers

from edge.errors import InputError

SMALLEST_SIDE = 32
Zeros = tuple[tuple[int, int], tuple[int, int]]


def zeros_before(side: int, *, kernel: int, symmetric: bool) -> Zeros:
    """Return the zeros around a square map before a stride-2 convolution with `valid` padding.

    Args:
        side: height and width of the map.
        kernel: 3 or 5.
        symmetric: as many on every side; otherwise the odd one stands behind, as TensorFlow pads ("same"), which on odd
            maps is symmetric too.
    """
    half = kernel // 2
    before = half if symmetric or side % 2 else half - 1
    return ((before, half), (before, half))


def normalized(x: Any, name: str, *, momentum: float = 0.99) -> Any:  # noqa: ANN401
    """Add batch normalization with the epsilon of TensorFlow's own networks."""
    return layers.BatchNormalization(epsilon=1e-3, momentum=momentum, name=name)(x)


def require_side(name: str, image_size: int) -> None:
    """Refuse pictures that five halvings leave nothing of.

    Raises:
        InputError: the image is smaller than 32 pixels.
    """
    if image_size < SMALLEST_SIDE:
        raise InputError(
            f"{name}: image_size is {image_size}; it is halved five times and must be at least {SMALLEST_SIDE}",
            hint=f"--image-size {SMALLEST_SIDE} or more; the published sizes are 96, 128, 160, 192 and 224",
        )
