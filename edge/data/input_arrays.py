"""Reads images, .npy and .npz files into the input arrays of one model."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.artifact.preprocessing import MODES, Preprocessing
from converters.artifact.record import ArtifactRecord
from edge.errors import DataError, InputError
from edge.runtime.errors import ModelInputError
from edge.runtime.tensor_spec import Array, TensorSpec
from edge.runtime.verified_model import VerifiedModel

_RANGES: Mapping[tuple[float, float], str] = {(-1.0, 1.0): "tf", (0.0, 1.0): "unit", (0.0, 255.0): "raw"}
_CHOICES = ", ".join(mode for mode in MODES if mode != "custom")


@dataclass(frozen=True)
class InputReader:
    """Reads sources for one model.

    Attributes:
        inputs: The model's inputs.
        preprocessing: How pixels become the input; None for models that take no images.
        refusal: Why images cannot be read; None where they can.
        described: The preprocessing's mode and its origin; None where there is none.
        notes: Remarks for the user.
    """

    inputs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing | None
    refusal: str | None
    described: str | None
    notes: tuple[str, ...]

    @classmethod
    def of(cls, verified: VerifiedModel, artifact: ArtifactRecord | None, mode: str | None) -> InputReader:
        """Decide how pixels become the model's input.

        The user's mode comes first, then the artifact's, then the scale of an 8-bit input. For a floating-point input
        without any of these, [-1, 1] is assumed with a note.
        """
        inputs = verified.inputs
        size = _image_size(inputs)
        if size is None:
            shapes = "; ".join(f"{info.name!r} {list(info.shape)}" for info in inputs)
            return cls(inputs, None, f"the model takes no images (inputs: {shapes})", None, ())
        if mode is None and artifact is not None and artifact.preprocessing is not None:
            stated = artifact.preprocessing
            if stated.shape != size:
                refusal = f"its description states images of {list(stated.shape)}, the file takes {list(size)}"
                return cls(inputs, None, refusal, None, ())
            return cls(inputs, stated, None, f"{stated.mode} (from the artifact)", ())
        chosen, origin, notes = (mode, "as requested", ()) if mode else _infer_mode(inputs[0])
        if chosen is None:
            return cls(inputs, None, origin, None, ())
        return cls(inputs, Preprocessing.for_mode(chosen, *size), None, f"{chosen} ({origin})", notes)

    @property
    def way_out(self) -> str:
        """What the user can do about a refusal other than giving arrays; "" where nothing."""
        return "" if _image_size(self.inputs) is None else f"name the preprocessing (--preprocess {_CHOICES}), or "

    def read(self, source: Path) -> list[Array]:
        """Return one array per input, as the model stores them.

        Raises:
            InputError: There is no such file.
            DataError: The file cannot be read.
            ModelInputError: Its content does not fit the model.
        """
        if not source.is_file():
            raise InputError(f"there is no file {source}", hint="check the path")
        if source.suffix.lower() in (".npy", ".npz"):
            return self._arrays(source)
        if self.preprocessing is None:
            raise ModelInputError(
                f"{source} cannot be given to the model: {self.refusal}",
                hint=f"{self.way_out}give the inputs as .npy or .npz",
            )
        from edge.data.images import read_image

        values = self.preprocessing.apply(read_image(source, self.preprocessing))
        return [self.inputs[0].quantize(values[np.newaxis])]

    def _arrays(self, source: Path) -> list[Array]:
        stored = _load(source)
        if isinstance(stored, np.ndarray):
            stored = {self.inputs[0].name if self.inputs else "": stored}
        missing = [info.name for info in self.inputs if info.name not in stored]
        if missing or len(stored) != len(self.inputs):
            raise ModelInputError(
                f"{source} holds {len(stored)} arrays ({', '.join(map(repr, stored))}); "
                f"the model takes {', '.join(repr(info.name) for info in self.inputs) or 'none'}",
                hint="save one array per input with numpy.savez, by the names of the inputs",
            )
        return [_fit(info, stored[info.name], source) for info in self.inputs]


def _image_size(inputs: tuple[TensorSpec, ...]) -> tuple[int, int, int] | None:
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].dtype not in ("float32", "uint8", "int8", "int16"):
        return None
    batch, height, width, channels = inputs[0].shape
    if batch not in (1, -1) or height < 1 or width < 1 or channels not in (1, 3):
        return None
    return height, width, channels


def _infer_mode(info: TensorSpec) -> tuple[str | None, str, tuple[str, ...]]:
    """Return mode, origin and notes; without a mode, the origin gives the reason."""
    if info.dtype == "float32":
        note = "the scaling of pixels is not known for this model; [-1, 1] is assumed (--preprocess sets another)"
        return "tf", "assumed", (note,)
    if info.scale is None:
        return ("raw", "8-bit input", ()) if info.dtype == "uint8" else (None, "its input has no scale", ())
    limits = np.iinfo(info.dtype)
    low, high = ((limit - (info.zero_point or 0)) * info.scale for limit in (limits.min, limits.max))
    step = 2.5 * max(info.scale, (high - low) / 256)
    for (least, most), mode in _RANGES.items():
        if abs(low - least) <= step and abs(high - most) <= step:
            return mode, "from the input's scale", ()
    return None, f"the preprocessing that gives values from {low:.3g} to {high:.3g} is not known", ()


def _load(source: Path) -> Array | dict[str, Array]:
    try:
        loaded = np.load(source, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{source} is not an array file: {error}", hint="write it with numpy.save or numpy.savez"
        ) from error


def _fit(info: TensorSpec, array: Array, source: Path) -> Array:
    """Return an array in the input's dtype, with the batch of 1 added where it is missing."""
    if array.ndim == len(info.shape) - 1:
        array = array[np.newaxis]
    if not info.accepts(array.shape) or array.dtype.kind not in "fiubSU":
        raise ModelInputError(
            f"{source}: input {info.name!r} takes {info.dtype} of shape {list(info.shape)}, "
            f"got {array.dtype} of shape {list(array.shape)}",
            hint="real values are quantized with the model's scale; integers must have the input's own type",
        )
    if array.dtype.kind == "f" and info.dtype != "bytes":
        return info.quantize(array)
    if info.dtype != "bytes" and array.dtype != np.dtype(info.dtype):
        if not np.can_cast(array.dtype, info.dtype, "safe"):
            raise ModelInputError(f"{source}: input {info.name!r} takes {info.dtype}, got {array.dtype}")
        return array.astype(info.dtype)
    return array
