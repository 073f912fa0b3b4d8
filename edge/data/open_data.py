"""Opens a data source by its name: a folder, an array file, an image, or `digits`.

`digits` are 1,797 scans of handwritten digits, 8x8 pixels of 16 grays, that come with scikit-learn: the test part of
the UCI data set "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998).
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from converters.artifact.preprocessing import Floats, Pixels, Preprocessing
from converters.optional_packages import import_optional
from edge.data import array_files, folders
from edge.data.data_source import DataSource
from edge.data.images import IMAGE_SUFFIXES, fit_pixels, is_image
from edge.errors import DataError, InputError

DIGITS = "digits"
SPLITS = ("train", "test")
_GRAYS = 16
_PARTS_HINT = "a folder has parts by subfolders train/ and test/ (or val/), an .npz by x_train and x_test"
ACCEPTED = (
    "a folder (of one folder per class, with a labels.csv, with train/ and test/ parts, or of plain images), "
    "an .npy or .npz file, an image, or 'digits'"
)


def open_data(
    spec: str | Path,
    *,
    preprocessing: Preprocessing,
    split: str | None = None,
    classes: int | None = None,
    labels_needed: bool = False,
) -> DataSource:
    """Open a data source; only names, labels and shapes are read yet.

    Args:
        spec: a path, or the word `digits`.
        preprocessing: how pixels become the model's input; arrays must already have its size.
        split: "train" or "test", for data in parts; by default the training part, or all data where there are no
            parts.
        classes: number of the model's classes; larger labels are refused.
        labels_needed: refuse a source without labels.

    Returns:
        A source that streams: never more than one sample is held in memory.

    Raises:
        InputError: there is no such file or folder, or it is of no known type.
        DataError: it is empty, damaged, of the wrong shape, or its labels do not fit.
        MissingPartError: Pillow or scikit-learn is needed and not installed.
    """
    if split is not None and split not in SPLITS:
        raise DataError(f"data has the parts {' and '.join(SPLITS)}, got '{split}'")
    source = _open(spec, preprocessing, split)
    if labels_needed:
        _require_labels(source)
    if classes is not None:
        _require_labels_below(source, classes)
    return source


def available_splits(spec: str | Path) -> tuple[str, ...]:
    """Return the parts of a source, "train" and "test", or nothing where it is not divided."""
    path = Path(spec)
    if str(spec) == DIGITS:
        return ()
    if path.is_dir():
        return folders.available_splits(path)
    return array_files.npz_splits(path) if path.is_file() and path.suffix.lower() == ".npz" else ()


def _open(spec: str | Path, preprocessing: Preprocessing, split: str | None) -> DataSource:
    path = Path(spec)
    if str(spec) != DIGITS and not path.exists():
        raise _missing(path)
    if split is not None and split not in (parts := available_splits(spec)):
        available = f"its parts are {', '.join(parts)}" if parts else "it is not divided"
        raise DataError(f"{spec} has no '{split}' part: {available}", hint=_PARTS_HINT)
    if str(spec) == DIGITS:
        return _open_digits(preprocessing)
    if path.is_dir():
        return folders.open_folder(path, preprocessing, split=split)
    return _open_file(path, preprocessing, split)


def _open_file(path: Path, preprocessing: Preprocessing, split: str | None) -> DataSource:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return array_files.open_npy(path, preprocessing)
    if suffix == ".npz":
        return array_files.open_npz(path, preprocessing, split=split)
    if is_image(path):
        return folders.open_image_file(path, preprocessing)
    packed = suffix in (".gz", ".tgz", ".zip", ".tar", ".xz", ".bz2")
    raise InputError(
        f"{path} is not a data source: accepted are {ACCEPTED}",
        hint="unpack the archive and give its folder" if packed else f"images end in {', '.join(IMAGE_SUFFIXES)}",
    )


def _missing(path: Path) -> InputError:
    siblings = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, [*siblings, DIGITS], n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"accepted are {ACCEPTED}"
    return InputError(f"there is no data at {path}", hint=hint)


def _require_labels(source: DataSource) -> None:
    if not source.labels_known:
        raise DataError(
            f"{source.spec} has no labels ({source.kind}), but labels are required",
            hint="use a folder per class, a labels.csv (file,class_index), or an .npz with x and y",
        )


def _require_labels_below(source: DataSource, classes: int) -> None:
    if source.labels is None or not len(source.labels) or int(source.labels.max()) < classes:
        return
    worst = int(np.argmax(source.labels))
    raise DataError(
        f"{source.spec}: the model has {classes} classes (0..{classes - 1}), but "
        f"{source.origin.name(int(source.indices[worst]))} has label {int(source.labels[worst])}",
        hint=f"the data needs a model of at least {source.classes} classes",
    )


@dataclass(frozen=True)
class DigitScans:
    """A sample origin: small gray scans held in memory, enlarged when they are read."""

    scans: Pixels
    preprocessing: Preprocessing

    def read(self, position: int) -> Floats:
        """Enlarge one scan to the model's input and scale it."""
        from PIL import Image

        return self.preprocessing.apply(fit_pixels(Image.fromarray(self.scans[position]), self.preprocessing))

    def name(self, position: int) -> str:
        """Return the scan's number as text."""
        return f"digit {position}"

    def size_bytes(self, position: int) -> int:
        """Return the size of a scan."""
        return int(self.scans[position].nbytes)

    def content(self, position: int) -> bytes:
        """Return the scan's pixels."""
        return bytes(self.scans[position].tobytes())


def _open_digits(preprocessing: Preprocessing) -> DataSource:
    """Return a source of all scans with their labels.

    Raises:
        MissingPartError: scikit-learn or Pillow is not installed.
    """
    import_optional("PIL.Image", "pillow", "the data 'digits'")
    datasets = import_optional("sklearn.datasets", "scikit-learn", "the data 'digits'")
    bunch = datasets.load_digits()
    scans = np.round(bunch.images * (255.0 / _GRAYS)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    names = tuple(str(name) for name in bunch.target_names)
    return DataSource(
        DIGITS, DIGITS, preprocessing, DigitScans(scans, preprocessing), np.arange(len(scans)), labels, names
    )
