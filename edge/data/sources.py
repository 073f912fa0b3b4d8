"""Open any data source by what a user writes: a folder, an array file, a picture, or the word `digits`."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

import numpy as np

from edge.data import array_files as arrays
from edge.data import digits, folders
from edge.data.images import PICTURE_SUFFIXES, is_picture
from edge.data.source import Sample, Source
from edge.errors import DataError, InputError
from edge.runtime.preprocessing import Preprocessing

__all__ = ["ACCEPTED", "SPLITS", "Sample", "Source", "available_splits", "open_source"]

SPLITS = ("train", "test")
_PARTS_HINT = "a folder has parts by subfolders train/ and test/ (or val/), an .npz by x_train and x_test"
ACCEPTED = (
    "a folder (of one folder per class, with a labels.csv, with train/ and test/ parts, or of plain pictures), "
    "an .npy or .npz file, a picture, or 'digits'"
)


def open_source(
    spec: str | Path,
    *,
    preprocessing: Preprocessing,
    split: str | None = None,
    classes: int | None = None,
    labels_needed: bool = False,
) -> Source:
    """Open a data source; nothing but names, labels and shapes is read yet.

    Args:
        spec: a path, or the word `digits`.
        preprocessing: how pixels become the model's input; arrays must already have its size.
        split: "train" or "test", for data that comes in parts; by default the training part, or all where there are
            no parts.
        classes: how many classes the model has; labels beyond are refused.
        labels_needed: refuse a source without labels.

    Returns:
        A source that streams: never more than one sample is held in memory.

    Raises:
        InputError: there is no such file or folder, or it is of no known type.
        DataError: it is empty, damaged, of the wrong shape, or its labels do not fit.
        MissingPartError: Pillow or scikit-learn is needed and not installed.
    """
    if split is not None and split not in SPLITS:
        raise DataError(f"data has the parts {' and '.join(SPLITS)}, '{split}' was asked for")
    source = _open(spec, preprocessing, split)
    if labels_needed:
        _require_labels(source)
    if classes is not None:
        _require_labels_below(source, classes)
    return source


def available_splits(spec: str | Path) -> tuple[str, ...]:
    """Return the parts of a source, "train" and "test", or nothing where it is one whole."""
    path = Path(spec)
    if str(spec) == digits.NAME:
        return ()
    if path.is_dir():
        return folders.available_splits(path)
    return arrays.npz_splits(path) if path.is_file() and path.suffix.lower() == ".npz" else ()


def _open(spec: str | Path, preprocessing: Preprocessing, split: str | None) -> Source:
    path = Path(spec)
    if str(spec) != digits.NAME and not path.exists():
        raise _missing(path)
    if split is not None and split not in (parts := available_splits(spec)):
        told = f"its parts are {', '.join(parts)}" if parts else "it is one whole"
        raise DataError(f"{spec} has no '{split}' part: {told}", hint=_PARTS_HINT)
    if str(spec) == digits.NAME:
        return digits.open_digits(preprocessing)
    if path.is_dir():
        return folders.open_folder(path, preprocessing, split=split)
    return _open_file(path, preprocessing, split)


def _open_file(path: Path, preprocessing: Preprocessing, split: str | None) -> Source:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return arrays.open_npy(path, preprocessing)
    if suffix == ".npz":
        return arrays.open_npz(path, preprocessing, split=split)
    if is_picture(path):
        return folders.open_picture(path, preprocessing)
    packed = suffix in (".gz", ".tgz", ".zip", ".tar", ".xz", ".bz2")
    raise InputError(
        f"{path} is no data source: accepted are {ACCEPTED}",
        hint="unpack the archive and give its folder" if packed else f"pictures end in {', '.join(PICTURE_SUFFIXES)}",
    )


def _missing(path: Path) -> InputError:
    siblings = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, [*siblings, digits.NAME], n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"accepted are {ACCEPTED}"
    return InputError(f"there is no data at {path}", hint=hint)


def _require_labels(source: Source) -> None:
    if not source.labels_known:
        raise DataError(
            f"{source.spec} has no labels ({source.kind}), and they are needed here",
            hint="use a folder per class, a labels.csv (file,class_index), or an .npz with x and y",
        )


def _require_labels_below(source: Source, classes: int) -> None:
    if source.labels is None or not len(source.labels) or int(source.labels.max()) < classes:
        return
    worst = int(np.argmax(source.labels))
    raise DataError(
        f"{source.spec}: the model has {classes} classes (0..{classes - 1}), but "
        f"{source.origin.name(int(source.indices[worst]))} has label {int(source.labels[worst])}",
        hint=f"the data needs a model of at least {source.classes} classes",
    )
