"""From a picture's bytes to a model's input: the one description that travels with an artifact.

A model input is `pixel * scale + offset`, per channel, with pixels 0..255. The resize policy is data: it is applied by
whoever decodes pictures, before `Preprocessing.apply`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.runtime.errors import ModelInputError

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
        ModelInputError: a field is out of its set, or `mode` and its numbers contradict each other.
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
            ModelInputError: an unknown mode, "custom" (which has no numbers of its own), or colour statistics for gray.
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
            ModelInputError: a field is missing, unknown, of the wrong type or out of its set.
        """
        if not isinstance(value, Mapping):
            raise ModelInputError(f"preprocessing must be a JSON object, got {type(value).__name__}")
        _require_fields(value)
        fields: dict[str, Any] = {name: value[name] for name in _FIELDS}
        for name in ("scale", "offset"):
            fields[name] = _numbers(name, fields[name])
        return cls(**fields)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that is written into an artifact."""
        fields = {name: getattr(self, name) for name in _FIELDS}
        return {**fields, "scale": list(self.scale), "offset": list(self.offset)}

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
            ModelInputError: the array is not uint8 or not of the model's size.
        """
        picture = self._fitted(np.asarray(pixels))
        if self.color == "bgr":
            picture = picture[:, :, ::-1]
        scaled = picture.astype(np.float32) * np.asarray(self.scale, np.float32)
        return np.ascontiguousarray(scaled + np.asarray(self.offset, np.float32), np.float32)

    def _fitted(self, pixels: npt.NDArray[Any]) -> Pixels:
        if pixels.dtype != np.uint8:
            raise ModelInputError(
                f"pixels must be uint8 with values 0..255, got {pixels.dtype}",
                hint="pass the picture as it was decoded; scaling is done here, once",
            )
        picture = pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels
        if picture.ndim == 3 and picture.shape[2] == 1 and self.channels == 3:
            picture = np.repeat(picture, 3, axis=2)
        if picture.shape != self.shape:
            raise ModelInputError(
                f"the model takes {_times(self.shape)} pixels, got {_times(pixels.shape)}",
                hint=f"resize the picture first (policy '{self.resize}')",
            )
        return picture

    def _require_numbers_of_mode(self) -> None:
        scale, offset = _numbers_of(self.mode, self.channels)
        if not (_close(self.scale, scale) and _close(self.offset, offset)):
            raise ModelInputError(
                f"mode '{self.mode}' means scale {list(scale)} and offset {list(offset)}, "
                f"got scale {list(self.scale)} and offset {list(self.offset)}",
                hint="name the mode 'custom' if these numbers are meant",
            )
        if self.channels == 3 and (self.color == "bgr") != (self.mode == "caffe"):
            raise ModelInputError(
                f"mode '{self.mode}' does not go with channel order '{self.color}'",
                hint="name the mode 'custom' if this order is meant",
            )


def _numbers_of(mode: str, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if mode in ("torch", "caffe"):
        if channels != 3:
            raise ModelInputError(
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


def _require_fields(value: Mapping[Any, Any]) -> None:
    missing = [name for name in _FIELDS if name not in value]
    unknown = [str(name) for name in value if name not in _FIELDS]
    if missing or unknown:
        told = [f"missing {', '.join(missing)}"] if missing else []
        told += [f"unknown {', '.join(unknown)}"] if unknown else []
        raise ModelInputError(f"preprocessing: {'; '.join(told)}", hint=f"its fields are {', '.join(_FIELDS)}")


def _numbers(name: str, value: object) -> tuple[float, ...]:
    if not isinstance(value, (list, tuple)) or not all(_is_number(entry) for entry in value):
        raise ModelInputError(f"preprocessing: {name} must be a list of numbers, one per channel, got {value!r}")
    return tuple(float(entry) for entry in value)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _require_positive(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelInputError(f"preprocessing: {name} must be a whole number of pixels, at least 1, got {value!r}")


def _require_one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ModelInputError(f"preprocessing: {name} must be one of {', '.join(allowed)}, got {value!r}")


def _require_channels(channels: object, color: str | None) -> None:
    if isinstance(channels, bool) or channels not in (1, 3):
        raise ModelInputError(f"preprocessing: channels must be 1 (gray) or 3 (colour), got {channels!r}")
    if color is not None and (color == "gray") != (channels == 1):
        raise ModelInputError(f"preprocessing: color '{color}' does not go with {channels} channel(s)")


def _require_finite(name: str, values: tuple[float, ...], channels: int) -> None:
    if len(values) != channels or not all(math.isfinite(value) for value in values):
        raise ModelInputError(f"preprocessing: {name} must be {channels} finite numbers, got {list(values)}")


def _close(left: tuple[float, ...], right: tuple[float, ...]) -> bool:
    return all(math.isclose(a, b, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE) for a, b in zip(left, right, strict=True))


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)
