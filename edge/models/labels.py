"""Provides the names of classes: ImageNet's 1000, files with one name per line, and those packed in .tflite files."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from functools import cache
from importlib import resources
from pathlib import Path

from edge.errors import DataError, InputError

_IMAGENET = 1000
_BACKGROUND = "background"
_MAX_LABEL_BYTES = 4 << 20
_NUMBERED = re.compile(r"^(\d+)[\s:,]+(\S.*)$")


@cache
def imagenet_labels(classes: int = _IMAGENET) -> tuple[str, ...]:
    """Return the names of ImageNet's classes by index; with 1001, "background" comes first.

    Raises:
        InputError: `classes` is neither 1000 nor 1001.
    """
    if classes not in (_IMAGENET, _IMAGENET + 1):
        raise InputError(
            f"ImageNet has {_IMAGENET} classes, or {_IMAGENET + 1} with a background class; {classes} were asked for",
            hint="give the names of the classes in a file, one per line",
        )
    table = resources.files("edge.models").joinpath("imagenet_classes.csv").read_text(encoding="utf-8")
    names = tuple(row["name"] for row in csv.DictReader(table.splitlines()))
    return names if classes == _IMAGENET else (_BACKGROUND, *names)


def read_labels(path: Path, *, classes: int | None = None) -> tuple[str, ...]:
    """Read a file with one name per line, UTF-8; numbers 0, 1, 2... before every name are removed.

    Args:
        path: the file; empty lines at its end are ignored.
        classes: how many names there must be; None accepts any number.

    Raises:
        InputError: the file is missing or not text.
        DataError: a line is empty, or the number of names is not `classes`.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except OSError as error:
        raise InputError(
            f"cannot read the labels file {path}: {error.strerror or error}", hint="give a text file, one name per line"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"the labels file {path} is not UTF-8 text", hint="give a text file, one name per line"
        ) from error
    names = _without_numbers([line.strip() for line in lines])
    if "" in names:
        raise DataError(f"line {names.index('') + 1} of the labels file {path} is empty", hint="one name per line")
    if not names or classes not in (None, len(names)):
        raise DataError(
            f"the labels file {path} has {len(names)} names; the model has {classes or 'at least 1'} classes",
            hint="one name per line, in the order of the model's outputs; a background class counts",
        )
    return tuple(names)


def read_embedded_labels(data: bytes, classes: int) -> tuple[str, ...] | None:
    """Return the labels of TFLite metadata: a text file with one name per class, in a zip archive after the model.

    None where there is none, or more than one that fits.
    """
    fitting: list[tuple[str, ...]] = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".txt") and entry.file_size <= _MAX_LABEL_BYTES:
                    lines = archive.read(entry).decode("utf-8").splitlines()
                    fitting += [tuple(lines)] if len(lines) == classes else []
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError, EOFError):
        return None
    return fitting[0] if len(fitting) == 1 else None


def _without_numbers(lines: list[str]) -> list[str]:
    found = [_NUMBERED.match(line) for line in lines]
    if all(match is not None and int(match[1]) == index for index, match in enumerate(found)):
        return [match[2] for match in found if match is not None]
    return lines
