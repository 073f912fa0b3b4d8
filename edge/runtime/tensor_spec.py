"""Describes the inputs and outputs of models, and quantizes and dequantizes their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import DTypeLike, NDArray

from converters.tflite.values import TensorInfo

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class TensorSpec:
    """An input or output.

    Attributes:
        name: As in the file.
        shape: Dimensions; -1 stands for one that may change from run to run.
        dtype: NumPy's name, such as float32 or int8; "bytes" for strings.
        scale: Real value = scale * (stored value - zero_point); None where the values are not quantized.
        zero_point: See scale.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None

    @classmethod
    def of(cls, tensor: TensorInfo) -> TensorSpec:
        """Return the description of a tensor of the file."""
        scales = tensor.scales
        quantized = tensor.quantization is not None and len(scales) == 1 and scales[0] > 0
        return cls(
            name=tensor.name,
            shape=tensor.full_shape,
            dtype="bytes" if tensor.dtype == "string" else tensor.dtype,
            scale=scales[0] if quantized else None,
            zero_point=tensor.quantization.zero_points[0] if tensor.quantization is not None and quantized else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "scale": self.scale,
            "zero_point": self.zero_point,
        }

    def accepts(self, shape: Sequence[int]) -> bool:
        """Return whether an array of this shape fits."""
        return len(shape) == len(self.shape) and all(
            want in (-1, got) for want, got in zip(self.shape, shape, strict=True)
        )

    def quantize(self, values: npt.ArrayLike) -> Array:
        """Return real values as the tensor stores them, rounded to nearest and limited to its range."""
        real = np.asarray(values)
        if self.scale is None:
            return real.astype(self.dtype, copy=False)
        limits = np.iinfo(self.dtype)
        with np.errstate(all="ignore"):
            stored = np.rint(real.astype(np.float64) / self.scale) + (self.zero_point or 0)
        return np.asarray(np.nan_to_num(stored).clip(limits.min, limits.max), self.dtype)

    def dequantize(self, stored: Array) -> Array:
        """Return stored values as real ones: float32 where the tensor is quantized, else unchanged."""
        if self.scale is None:
            return stored
        with np.errstate(all="ignore"):
            real = (stored.astype(np.float64) - (self.zero_point or 0)) * self.scale
            return real.astype(np.float32)


def plausible_array(shape: Sequence[int], dtype: DTypeLike, *, seed: int = 0) -> NDArray[np.generic]:
    """Return an array that a model can run on, the same for the same arguments.

    Floating point: uniform in [-1, 1). 8-bit: all values alike. Wider integers and truth values: zeros, since they are
    often indices and another value might be out of their range.
    """
    kind, generator = np.dtype(dtype), np.random.default_rng(seed)
    if kind.kind == "f":
        return generator.uniform(-1, 1, tuple(shape)).astype(kind)
    if kind.kind in "iu" and kind.itemsize == 1:
        limits = np.iinfo(kind)
        return generator.integers(limits.min, limits.max, tuple(shape), kind, endpoint=True)
    return np.zeros(tuple(shape), kind)
