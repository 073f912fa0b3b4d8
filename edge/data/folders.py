"""Opens image folders as data sources: class folders, a labels.csv, a plain folder or a single image."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.artifact.preprocessing import Floats, Preprocessing
from edge.data.data_source import DataSource
from edge.data.images import IMAGE_SUFFIXES, is_image, read_image
from edge.errors import DataError

SPLIT_FOLDERS = {"train": ("train",), "test": ("test", "val", "validation")}
LABELS_FILE = "labels.csv"
_COLUMNS = ("file", "class_index")
_NAMED = 3  # how many offenders a message lists


@dataclass(frozen=True)
class ImageFiles:
    """A sample origin: image files below one folder, decoded when they are read."""

    folder: Path
    files: tuple[str, ...]
    preprocessing: Preprocessing

    def read(self, position: int) -> Floats:
        """Decode, fit and scale one image."""
        return self.preprocessing.apply(read_image(self.folder / self.files[position], self.preprocessing))

    def name(self, position: int) -> str:
        """Return the path inside the folder."""
        return self.files[position]

    def size_bytes(self, position: int) -> int:
        """Return the size of the file."""
        return (self.folder / self.files[position]).stat().st_size

    def content(self, position: int) -> bytes:
        """Return the file's bytes."""
        return (self.folder / self.files[position]).read_bytes()


def open_image_file(path: Path, preprocessing: Preprocessing) -> DataSource:
    """Return a source of one image without a label."""
    return _source(path, "picture", _Listing(path.parent, (path.name,)), preprocessing)


def open_folder(folder: Path, preprocessing: Preprocessing, *, split: str | None) -> DataSource:
    """Return a source of a folder of any of these kinds.

    Raises:
        DataError: no images, images next to class folders, a class without images, or a bad labels.csv.
    """
    splits = available_splits(folder)
    if splits:
        part = _split_folder(folder, split or splits[0])
        return _open_flat(part, preprocessing, names=_class_names_of_parts(folder, splits))
    return _open_flat(folder, preprocessing, names=None)


def available_splits(folder: Path) -> tuple[str, ...]:
    """Return which of "train" and "test" a folder has as subfolders; a folder with a labels.csv has none."""
    if not (folder / "train").is_dir() or (folder / LABELS_FILE).exists():
        return ()
    return tuple(split for split, names in SPLIT_FOLDERS.items() if any((folder / name).is_dir() for name in names))


def _split_folder(folder: Path, split: str) -> Path:
    return next(folder / name for name in SPLIT_FOLDERS[split] if (folder / name).is_dir())


def _class_names_of_parts(folder: Path, splits: Iterable[str]) -> tuple[str, ...]:
    """All parts number their classes alike, even if one of them lacks a class."""
    return tuple(sorted({child.name for split in splits for child in _subfolders(_split_folder(folder, split))}))


@dataclass(frozen=True)
class _Listing:
    folder: Path
    files: tuple[str, ...]
    labels: tuple[int, ...] | None = None
    names: tuple[str, ...] | None = None


def _open_flat(folder: Path, preprocessing: Preprocessing, *, names: tuple[str, ...] | None) -> DataSource:
    if (folder / LABELS_FILE).is_file():
        return _source(folder, "labels-csv", _list_csv(folder), preprocessing)
    loose = sorted(child.name for child in folder.iterdir() if child.is_file() and is_image(child))
    classes = {child.name: _image_files_below(child) for child in _subfolders(folder)}
    if not loose and not any(classes.values()):
        raise DataError(
            f"{folder} holds no images: looked for a folder of images per class, for {LABELS_FILE}, "
            f"and for files ending in {', '.join(IMAGE_SUFFIXES)}",
            hint="check the path, or that the archive was unpacked",
        )
    if not any(classes.values()):
        return _source(folder, "pictures", _Listing(folder, tuple(loose)), preprocessing)
    _require_class_folders(folder, loose, classes)
    return _source(folder, "class-folders", _list_classes(folder, classes, names), preprocessing)


def _source(path: Path, kind: str, listing: _Listing, preprocessing: Preprocessing) -> DataSource:
    labels = None if listing.labels is None else np.asarray(listing.labels, np.int64)
    origin = ImageFiles(listing.folder, listing.files, preprocessing)
    indices = np.arange(len(listing.files), dtype=np.int64)
    return DataSource(str(path), kind, preprocessing, origin, indices, labels, listing.names)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _image_files_below(folder: Path) -> list[Path]:
    images = (path for path in folder.rglob("*") if is_image(path) and path.is_file())
    return sorted(path for path in images if not _hidden(path.relative_to(folder)))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _require_class_folders(folder: Path, loose: Sequence[str], classes: dict[str, list[Path]]) -> None:
    if loose:
        raise DataError(
            f"{folder} has class folders ({_shorten(list(classes))}) and also {len(loose)} images next to them "
            f"({_shorten(loose)}), whose class is unknown",
            hint="move these images into a class folder or away",
        )
    empty = [name for name, files in classes.items() if not files]
    if empty:
        raise DataError(
            f"{folder}: no images in the class folder(s) {_shorten(empty)}",
            hint="an empty class would shift the numbering of the others: fill the folder or remove it",
        )


def _list_classes(folder: Path, classes: dict[str, list[Path]], names: tuple[str, ...] | None) -> _Listing:
    ordered = names or tuple(sorted(classes))
    number = {name: index for index, name in enumerate(ordered)}
    pairs = [(str(path.relative_to(folder)), number[name]) for name, files in sorted(classes.items()) for path in files]
    return _Listing(folder, tuple(file for file, _ in pairs), tuple(label for _, label in pairs), ordered)


def _list_csv(folder: Path) -> _Listing:
    path = folder / LABELS_FILE
    rows = _csv_rows(path)
    files = tuple(row["file"] for row in rows)
    absent = [file for file in files if not (folder / file).is_file()]
    if absent:
        raise DataError(
            f"{path} lists {len(absent)} of {len(files)} images that are not there: {_shorten(absent)}",
            hint="file names are relative to the folder of labels.csv",
        )
    labels = tuple(_class_index(path, number, row["class_index"]) for number, row in enumerate(rows, start=2))
    return _Listing(folder, files, labels, _csv_names(rows, labels))


def _csv_rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            columns = tuple(reader.fieldnames or ())
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV text in UTF-8: {error}") from error
    if not set(_COLUMNS) <= set(columns):
        raise DataError(
            f"{path} has the columns {', '.join(columns) or '(none)'}; needed are {', '.join(_COLUMNS)}",
            hint="the first line names the columns: file,class_index (wnid and name may follow)",
        )
    if not rows:
        raise DataError(f"{path} lists no images", hint="one line per image below the line of column names")
    return rows


def _class_index(path: Path, line: int, text: str) -> int:
    if not text.strip().isdecimal():
        raise DataError(f"{path}, line {line}: class_index must be a whole number from 0, got '{text}'")
    return int(text)


def _csv_names(rows: Sequence[dict[str, str]], labels: Sequence[int]) -> tuple[str, ...] | None:
    """Names by label, if every class from 0 on has one."""
    names = {label: row["name"] for label, row in zip(labels, rows, strict=True) if row.get("name")}
    return tuple(names[label] for label in range(len(names))) if set(names) == set(range(max(labels) + 1)) else None


def _shorten(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
