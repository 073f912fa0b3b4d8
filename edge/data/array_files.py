"""Opens NumPy files as data sources: .npy (inputs) and .npz (inputs and labels), memory-mapped where possible."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.artifact.preprocessing import Floats, Preprocessing
from edge.data.data_source import DataSource, Integers
from edge.errors import DataError

Array = npt.NDArray[Any]

# Pairs of keys, in the order in which they are looked for.
KEYS = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("x", "y"), ("images", "labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels"), ("x_val", "y_val")),
}
_NAMES_KEY = "names"
_LOCAL_HEADER_BYTES = 30
_ROWS_TRIED = 64
_SLACK = 0.02  # of the range: float rounding and resampling overshoot
_ROWS_FOR_SIGN = 8


@dataclass(frozen=True)
class Rows:
    """A sample origin: the rows of an array."""

    label: str
    array: Array
    preprocessing: Preprocessing

    def read(self, position: int) -> Floats:
        """Return one row, scaled if it holds pixels; floats are taken as scaled already and checked."""
        row = self.array[position]
        if row.dtype == np.uint8:
            return self.preprocessing.apply(row)
        floats = np.array(row, np.float32).reshape(self.preprocessing.shape)
        if not _within(floats, self.preprocessing):
            raise _wrong_scale(f"{self.label}, row {position}", floats, self.preprocessing)
        return floats

    def name(self, position: int) -> str:
        """Return the row's number as text."""
        return f"row {position}"

    def size_bytes(self, position: int) -> int:
        """Return the size of a row."""
        return int(self.array[position].nbytes)

    def content(self, position: int) -> bytes:
        """Return the stored bytes of a row."""
        return np.ascontiguousarray(self.array[position]).tobytes()


def open_npy(path: Path, preprocessing: Preprocessing) -> DataSource:
    """Return a source of the rows of a .npy file, without labels.

    Raises:
        DataError: the file is damaged, holds objects, or does not fit the model's input.
    """
    array = _load(path, lambda: np.load(path, mmap_mode="r", allow_pickle=False))
    return _source(path, "npy", array, None, None, preprocessing)


def open_npz(path: Path, preprocessing: Preprocessing, *, split: str | None) -> DataSource:
    """Return a source of an .npz file with inputs and, if they are there, labels.

    Members stored without compression (`np.savez`) are memory-mapped; compressed ones are read into memory.

    Raises:
        DataError: the file is damaged, has none of the known keys, or its arrays do not fit.
    """
    members = _load(path, lambda: _members(path))
    pair = _keys(path, members, split or "train")
    inputs = _load(path, members[pair[0]])
    labels = _labels(path, _load(path, members[pair[1]]), len(inputs)) if pair[1] in members else None
    names = _load(path, members[_NAMES_KEY]) if _NAMES_KEY in members else None
    class_names = None if names is None else tuple(str(name) for name in names.ravel())
    if class_names is not None and labels is not None and len(labels) and int(labels.max()) >= len(class_names):
        raise DataError(f"{path}: {len(class_names)} names, but the largest label is {int(labels.max())}")
    return _source(path, "npz", inputs, labels, class_names, preprocessing)


def npz_splits(path: Path) -> tuple[str, ...]:
    """Return "train" and "test" if the file has keys for both, else nothing."""
    members = _load(path, lambda: _members(path))
    splits = tuple(split for split, pairs in KEYS.items() if any(inputs in members for inputs, _ in pairs))
    return splits if len(splits) == len(KEYS) else ()


def _load(path: Path, load: Callable[[], Any]) -> Any:  # noqa: ANN401  (whatever the file holds)
    try:
        return load()
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise DataError(
            f"{path} is not a NumPy file that can be read: {error}",
            hint="write it with np.save or np.savez, plain arrays only",
        ) from error


def _members(path: Path) -> Mapping[str, Callable[[], Array]]:
    with zipfile.ZipFile(path) as archive:
        infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    return {info.filename.removesuffix(".npy"): _member(path, info) for info in infos}


def _member(path: Path, info: zipfile.ZipInfo) -> Callable[[], Array]:
    return lambda: _map(path, info) if info.compress_type == zipfile.ZIP_STORED else _inflate(path, info)


def _inflate(path: Path, info: zipfile.ZipInfo) -> Array:
    with np.load(path, allow_pickle=False) as arrays:
        return np.asarray(arrays[info.filename.removesuffix(".npy")])


def _map(path: Path, info: zipfile.ZipInfo) -> Array:
    """Map an uncompressed member of the zip file: its local header (PKZIP APPNOTE 4.3.7), then the .npy header."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(_LOCAL_HEADER_BYTES)
        name_bytes, extra_bytes = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
        file.seek(name_bytes + extra_bytes, 1)
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        start = file.tell()
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")


def _keys(path: Path, members: Mapping[str, object], split: str) -> tuple[str, str]:
    for pair in KEYS[split]:
        if pair[0] in members:
            return pair
    wanted = ", ".join(f"{inputs} and {labels}" for inputs, labels in KEYS[split])
    raise DataError(
        f"{path} holds {', '.join(members) or 'nothing'}; looked for {wanted}",
        hint="np.savez(FILE, x=inputs, y=labels)",
    )


def _labels(path: Path, labels: Array, count: int) -> Integers:
    flat = labels.ravel() if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if _one_hot(flat):
        flat = flat.argmax(axis=1)
    if flat.ndim != 1 or not np.issubdtype(flat.dtype, np.integer):
        raise DataError(
            f"{path}: labels must be class indices (whole numbers, one per input) or one-hot rows, "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    if len(flat) != count:
        raise DataError(f"{path}: {count} inputs but {len(flat)} labels")
    if count and int(flat.min()) < 0:
        raise DataError(f"{path}: class indices start at 0, got {int(flat.min())}")
    return flat.astype(np.int64)


def _one_hot(labels: Array) -> bool:
    if labels.ndim != 2 or labels.shape[1] < 2 or labels.dtype.kind not in "biuf":
        return False
    return bool(np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all())


def _source(
    path: Path, kind: str, inputs: Array, labels: Integers | None, names: tuple[str, ...] | None,
    preprocessing: Preprocessing,
) -> DataSource:  # fmt: skip
    _require_shape(path, inputs, preprocessing)
    _require_pixels_or_scaled(path, inputs, preprocessing)
    origin = Rows(str(path), inputs, preprocessing)
    return DataSource(str(path), kind, preprocessing, origin, np.arange(len(inputs), dtype=np.int64), labels, names)


def _require_shape(path: Path, inputs: Array, preprocessing: Preprocessing) -> None:
    if inputs.ndim and not len(inputs):
        raise DataError(f"{path} has no rows")
    fitting = _row_shapes(preprocessing.shape, pixels=inputs.dtype == np.uint8)
    if inputs.ndim and inputs.shape[1:] in fitting:
        return
    turned = inputs.ndim == 4 and (*inputs.shape[2:], inputs.shape[1]) in fitting
    raise DataError(
        f"{path}: the model takes rows of shape {preprocessing.shape}, got an array of shape {inputs.shape}",
        hint="channels come last here: x.transpose(0, 2, 3, 1)" if turned else "the first axis counts the samples",
    )


def _row_shapes(shape: tuple[int, int, int], *, pixels: bool) -> tuple[tuple[int, ...], ...]:
    """Gray pixels also fit a colour model, for they can be repeated; floats were prepared for the model."""
    height, width, channels = shape
    gray = ((height, width, 1), (height, width))
    return (shape, *gray) if channels == 1 or pixels else (shape,)


def _require_pixels_or_scaled(path: Path, inputs: Array, preprocessing: Preprocessing) -> None:
    if inputs.dtype == np.uint8:
        return
    if not np.issubdtype(inputs.dtype, np.floating):
        raise DataError(
            f"{path}: inputs must be uint8 pixels or preprocessed floats, got {inputs.dtype}",
            hint="x.astype('uint8') if the values are pixels 0..255",
        )
    spread = np.unique(np.linspace(0, len(inputs) - 1, min(len(inputs), _ROWS_TRIED)).astype(np.int64))
    tried = np.asarray(inputs[spread], np.float32)
    if not _within(tried, preprocessing) or _unlikely(tried, preprocessing):
        raise _wrong_scale(str(path), tried, preprocessing)


def _within(values: Floats, preprocessing: Preprocessing) -> bool:
    low, high = preprocessing.value_range
    slack = _SLACK * (high - low)
    return bool(np.isfinite(values).all() and values.min() >= low - slack and values.max() <= high + slack)


def _unlikely(values: Floats, preprocessing: Preprocessing) -> bool:
    """Pixels never divided by 255 leave the range; these are the opposite faults, which stay inside it."""
    low, high = preprocessing.value_range
    nearly_one_colour = float(values.max() - values.min()) <= _SLACK * (high - low) and float(values.std()) > 0
    never_dark = low < 0 <= float(values.min()) and len(values) >= _ROWS_FOR_SIGN
    return nearly_one_colour or never_dark


def _wrong_scale(place: str, values: Floats, preprocessing: Preprocessing) -> DataError:
    low, high = preprocessing.value_range
    finite = values[np.isfinite(values)]
    got = f"{finite.min():.4g} .. {finite.max():.4g}" if len(finite) else "no finite number"
    odd = "" if len(finite) == values.size else f" and {values.size - len(finite)} values that are no finite numbers"
    return DataError(
        f"{place}: floats are taken as preprocessed, and mode '{preprocessing.mode}' gives {low:.4g} .. {high:.4g}, "
        f"but these span {got}{odd}",
        hint="pass the pixels as uint8 0..255 and they are scaled here, or scale the floats as the mode requires",
    )
