"""What stands beside a model: NAME.json, with its preprocessing, its labels and its recipe."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.errors import ModelFileError
from edge.runtime.errors import ModelInputError
from edge.runtime.preprocessing import Preprocessing

SCHEMA = "edge-artifact/1"
_MAX_LABEL_BYTES = 4 << 20


@dataclass(frozen=True)
class Artifact:
    """The description of one model file.

    Attributes:
        name: The artifact's name, such as mobilenet_v2-int8.
        sha256: Of the .tflite file, checked against it.
        recipe: The recipe's name; None where the description does not say.
        preprocessing: How pixels become the input; None for a model that takes no pictures, or where it is not known.
        labels: Names by class index, or None.
        labels_origin: Where the labels come from, or None.
        values: The whole description, as read.
    """

    name: str
    sha256: str
    recipe: str | None
    preprocessing: Preprocessing | None
    labels: tuple[str, ...] | None
    labels_origin: str | None
    values: Mapping[str, Any]


def artifact_of(path: str | os.PathLike[str]) -> Artifact | None:
    """Read the description beside a model; None where there is none.

    Raises:
        ModelFileError: The description cannot be read, is of another schema, or describes another file.
    """
    model = Path(path)
    description = model.with_suffix(".json")
    if not description.is_file():
        return None
    values = _parse(description)
    if values.get("schema") != SCHEMA:
        raise _wrong(description, f"has the schema {values.get('schema')!r}; this version reads {SCHEMA!r}")
    _check_file(model, description, values.get("sha256"))
    return _artifact(description, values)


def embedded_labels(data: bytes, classes: int) -> tuple[str, ...] | None:
    """Return the labels of TFLite metadata: a text file with one name per class, packed behind the model.

    None where there is none, or more than one that fits.
    """
    found: list[tuple[str, ...]] = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".txt") and entry.file_size <= _MAX_LABEL_BYTES:
                    lines = archive.read(entry).decode("utf-8").splitlines()
                    found += [tuple(lines)] if len(lines) == classes else []
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError, EOFError):
        return None
    return found[0] if len(found) == 1 else None


def _parse(description: Path) -> Mapping[str, Any]:
    try:
        values = json.loads(description.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _wrong(description, f"cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise _wrong(description, "is no JSON object")
    return values


def _check_file(model: Path, description: Path, expected: object) -> None:
    try:
        with model.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else None
            got = (digest or hashlib.sha256(file.read())).hexdigest()
    except OSError as error:
        raise ModelFileError(
            f"cannot read the model {model}: {error.strerror or error}", hint="check the path"
        ) from error
    if got != expected:
        raise ModelFileError(
            f"{model} is not the file that {description.name} describes: its sha256 is {got}, expected {expected}",
            hint="copy both files of the artifact together, or convert again; without the JSON file nothing is assumed",
        )


def _artifact(description: Path, values: Mapping[str, Any]) -> Artifact:
    recipe, labels, preprocessing = values.get("recipe"), values.get("labels"), values.get("preprocessing")
    if labels is not None and not (isinstance(labels, list) and all(isinstance(label, str) for label in labels)):
        raise _wrong(description, "has labels that are no list of names")
    try:
        parsed = None if preprocessing is None else Preprocessing.from_json(preprocessing)
    except ModelInputError as error:
        raise _wrong(description, str(error)) from error
    name = recipe.get("name") if isinstance(recipe, Mapping) else None
    return Artifact(
        name=str(values.get("name", description.stem)),
        sha256=str(values["sha256"]),
        recipe=None if name is None else str(name),
        preprocessing=parsed,
        labels=None if labels is None else tuple(labels),
        labels_origin=values.get("labels_origin"),
        values=values,
    )


def _wrong(description: Path, what: str) -> ModelFileError:
    return ModelFileError(f"{description} {what}", hint="convert the model again, or take the JSON file away")
