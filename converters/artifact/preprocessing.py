"""Describes how an image's pixels become a model's input, and applies it; artifacts carry the description.

A model input is `pixel * scale + offset`, per channel, with pixels 0..255. The resize policy is only recorded here: the
code that decodes pictures applies it before `Preprocessing.apply`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.decode import DecodeError, decode, encode
from converters.errors import PreprocessingError

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

COLORS = ("rgb", "bgr", "gray")
RESIZES = ("crop", "stretch")
MODES = ("tf", "torch", "caffe", "unit", "raw", "custom")
_PIXEL_MAX = 255.0
# Statistics of ImageNet as keras.applications uses them: RGB in 0..1 for "torch", BGR in 0..255 for "caffe".
_TORCH_MEAN = (0.485, 0.456, 0.406)
_TORCH_STD = (0.229, 0.224, 0.225)
_CAFFE_MEAN = (103.939, 116.779, 123.68)
_FIELDS = ("height", "width", "channels", "color", "resize", "mode", "scale", "offset")
_TOLERANCE = 1e-5


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How pixels become one input of a model; `scale` and `offset` are in the model's own channel order.

    Raises:
        PreprocessingError: a field has an invalid value, or `mode` and its numbers contradict each other.
    """

    height: int
    width: int
    channels: int
    color: str
    resize: str
    mode: str
    scale: tuple[float, ...]
    offset: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse values that could not be applied."""
        for name in ("height", "width"):
            _require_positive(name, getattr(self, name))
        _require_one_of("color", self.color, COLORS)
        _require_one_of("resize", self.resize, RESIZES)
        _require_one_of("mode", self.mode, MODES)
        _require_channels(self.channels, self.color)
        for name in ("scale", "offset"):
            _require_finite(name, getattr(self, name), self.channels)
        if self.mode != "custom":
            self._require_numbers_of_mode()

    @classmethod
    def for_mode(cls, mode: str, height: int, width: int, channels: int, *, resize: str = "crop") -> Preprocessing:
        """Return the preprocessing that keras.applications calls `mode`.

        Args:
            mode: "tf" gives [-1, 1]; "torch" ImageNet's mean and standard deviation; "caffe" BGR minus the mean;
                "unit" [0, 1]; "raw" 0..255 unchanged.
            height: of the model's input, in pixels.
            width: of the model's input, in pixels.
            channels: 3, or 1 for gray.
            resize: "crop" keeps the proportions and cuts the centre, "stretch" does not keep them.

        Raises:
            PreprocessingError: an unknown mode, "custom" (it has no numbers of its own), or colour statistics for gray.
        """
        _require_one_of("mode", mode, tuple(name for name in MODES if name != "custom"))
        _require_channels(channels, None)
        scale, offset = _numbers_of(mode, channels)
        color = "gray" if channels == 1 else ("bgr" if mode == "caffe" else "rgb")
        return cls(height=height, width=width, channels=channels, color=color, resize=resize, mode=mode,
                   scale=scale, offset=offset)  # fmt: skip

    @classmethod
    def from_json(cls, value: object) -> Preprocessing:
        """Read what `to_json` wrote.

        Raises:
            PreprocessingError: a field is missing, unknown, of the wrong type or out of its set.
        """
        try:
            return decode(cls, value, "preprocessing")
        except DecodeError as error:
            raise PreprocessingError(str(error), hint=f"its fields are {', '.join(_FIELDS)}") from error

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that is written into an artifact."""
        value: dict[str, Any] = encode(self)
        return value

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one input."""
        return self.height, self.width, self.channels

    @property
    def value_range(self) -> tuple[float, float]:
        """The lowest and highest value that pixels 0..255 can become."""
        ends = [pixel * s + o for s, o in zip(self.scale, self.offset, strict=True) for pixel in (0.0, _PIXEL_MAX)]
        return min(ends), max(ends)

    def apply(self, pixels: Pixels) -> Floats:
        """Scale one picture that already has the model's height and width.

        Args:
            pixels: uint8, height x width x channels in the order RGB, or height x width of a gray picture. Gray is
                repeated where the model wants colour; colour is never turned to gray here.

        Returns:
            float32, height x width x channels in the model's channel order.

        Raises:
            PreprocessingError: the array is not uint8 or not of the model's size.
        """
        image = self._fit(np.asarray(pixels))
        if self.color == "bgr":
            image = image[:, :, ::-1]
        scaled = image.astype(np.float32) * np.asarray(self.scale, np.float32)
        return np.ascontiguousarray(scaled + np.asarray(self.offset, np.float32), np.float32)

    def _fit(self, pixels: npt.NDArray[Any]) -> Pixels:
        if pixels.dtype != np.uint8:
            raise PreprocessingError(
                f"pixels must be uint8 with values 0..255, got {pixels.dtype}",
                hint="pass the picture as it was decoded; scaling is done here, once",
            )
        image = pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels
        if image.ndim == 3 and image.shape[2] == 1 and self.channels == 3:
            image = np.repeat(image, 3, axis=2)
        if image.shape != self.shape:
            raise PreprocessingError(
                f"the model takes {_times(self.shape)} pixels, got {_times(pixels.shape)}",
                hint=f"resize the picture first (policy '{self.resize}')",
            )
        return image

    def _require_numbers_of_mode(self) -> None:
        scale, offset = _numbers_of(self.mode, self.channels)
        if not (_close(self.scale, scale) and _close(self.offset, offset)):
            raise PreprocessingError(
                f"mode '{self.mode}' means scale {list(scale)} and offset {list(offset)}, "
                f"got scale {list(self.scale)} and offset {list(self.offset)}",
                hint="name the mode 'custom' if these numbers are meant",
            )
        if self.channels == 3 and (self.color == "bgr") != (self.mode == "caffe"):
            raise PreprocessingError(
                f"mode '{self.mode}' does not go with channel order '{self.color}'",
                hint="name the mode 'custom' if this order is meant",
            )


def _numbers_of(mode: str, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if mode in ("torch", "caffe"):
        if channels != 3:
            raise PreprocessingError(
                f"mode '{mode}' has statistics for three colours, the model takes {channels} channel",
                hint="use 'tf', 'unit' or 'raw' for gray pictures",
            )
        if mode == "caffe":
            return (1.0, 1.0, 1.0), tuple(-mean for mean in _CAFFE_MEAN)
        scale = tuple(1.0 / (_PIXEL_MAX * std) for std in _TORCH_STD)
        return scale, tuple(-mean / std for mean, std in zip(_TORCH_MEAN, _TORCH_STD, strict=True))
    scale_offset = {"tf": (2.0 / _PIXEL_MAX, -1.0), "unit": (1.0 / _PIXEL_MAX, 0.0), "raw": (1.0, 0.0)}
    scale_each, offset_each = scale_offset[mode]
    return (scale_each,) * channels, (offset_each,) * channels


def _require_positive(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise PreprocessingError(f"preprocessing: {name} must be a whole number of pixels, at least 1, got {value!r}")


def _require_one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise PreprocessingError(f"preprocessing: {name} must be one of {', '.join(allowed)}, got {value!r}")


def _require_channels(channels: object, color: str | None) -> None:
    if isinstance(channels, bool) or channels not in (1, 3):
        raise PreprocessingError(f"preprocessing: channels must be 1 (gray) or 3 (colour), got {channels!r}")
    if color is not None and (color == "gray") != (channels == 1):
        raise PreprocessingError(f"preprocessing: color '{color}' does not go with {channels} channel(s)")


def _require_finite(name: str, values: tuple[float, ...], channels: int) -> None:
    if len(values) != channels or not all(math.isfinite(value) for value in values):
        raise PreprocessingError(f"preprocessing: {name} must be {channels} finite numbers, got {list(values)}")


def _close(left: tuple[float, ...], right: tuple[float, ...]) -> bool:
    return all(math.isclose(a, b, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE) for a, b in zip(left, right, strict=True))


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)
