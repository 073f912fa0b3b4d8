"""Reads and writes artifacts: NAME.tflite and its record, NAME.json."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from converters.artifact.preprocessing import Preprocessing
from converters.artifact.record import SCHEMA, ArtifactRecord
from converters.decode import DecodeError, decode, parse_json
from converters.errors import ModelFileError, PreprocessingError
from converters.files import replacing, sha256_of

_FAMILY = "edge-artifact/"
_HINT = "copy both files of the artifact together, convert the model again, or remove the JSON file"


@dataclass(frozen=True, kw_only=True, eq=False)
class Artifact:
    """A .tflite file's content with its record; both are published in `folder`."""

    record: ArtifactRecord
    data: bytes
    folder: Path

    @property
    def name(self) -> str:
        """The artifact's name."""
        return self.record.name

    @property
    def path(self) -> Path:
        """The .tflite file."""
        return self.folder / f"{self.name}.tflite"

    @property
    def json_path(self) -> Path:
        """The path of its record."""
        return self.folder / f"{self.name}.json"

    def to_json(self) -> dict[str, Any]:
        """Return the content of the JSON file."""
        return self.record.to_json()


@dataclass(frozen=True)
class Sidecar:
    """The JSON file of a model: its record, or the problem for which the record is not used."""

    path: Path
    record: ArtifactRecord | None
    problem: str | None


def publish(artifacts: Sequence[Artifact]) -> None:
    """Write the artifacts: all to temporary files first, then per artifact the JSON and last the .tflite into place.

    A reader takes an artifact as complete when the .tflite is there and its SHA-256 is the one in the JSON. Even
    after an interrupt or loss of power, no incomplete pair looks complete.

    Raises:
        WriteError: A file could not be written (disk full, no permission); nothing of this call is in place.
    """
    with contextlib.ExitStack() as stack:
        for artifact in reversed(artifacts):  # leaving the stack reverses again: JSON before .tflite, in order
            stack.enter_context(replacing(artifact.path)).write_bytes(artifact.data)
            stack.enter_context(replacing(artifact.json_path)).write_bytes(record_text(artifact.record).encode())


def record_text(record: ArtifactRecord) -> str:
    """Return the text of NAME.json."""
    return json.dumps(record.to_json(), indent=2, ensure_ascii=False) + "\n"


def artifact_of(model: str | os.PathLike[str]) -> ArtifactRecord | None:
    """Read a model's record; None where there is none.

    Raises:
        ModelFileError: The record is malformed, or describes another file.
    """
    found = read_sidecar(Path(model))
    if found is not None and found.problem is not None:
        raise ModelFileError(found.problem, hint=_HINT)
    return found.record if found is not None else None


def read_sidecar(model: Path, *, sha256: str | None = None) -> Sidecar | None:
    """Read a model's JSON file; None where there is none, or it is not an artifact's.

    Args:
        model: The .tflite file.
        sha256: Its digest where it is known; None computes it.

    Raises:
        ModelFileError: The model itself cannot be read.
    """
    path = model.with_suffix(".json")
    try:
        record = read_record(path) if path.is_file() else None
    except ModelFileError as error:
        return Sidecar(path, None, str(error))
    if record is None:
        return None
    got = sha256 or _digest(model)
    if record.sha256 != got:
        return Sidecar(path, None, f"{path} describes another file: it names sha256 {record.sha256}, {model.name} has "
                       f"{got}")  # fmt: skip
    return Sidecar(path, record, None)


def read_record(path: Path) -> ArtifactRecord | None:
    """Read NAME.json; None where it is a JSON file of another kind.

    Raises:
        ModelFileError: It cannot be read, is not JSON, has another version, or a field is invalid.
    """
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}", hint=_HINT) from error
    return record_from_json(value, path)


def record_from_json(value: object, path: Path) -> ArtifactRecord | None:
    """Return the record that NAME.json, already parsed, holds; None where it is of another kind.

    Raises:
        ModelFileError: It has another version, or a field is invalid.
    """
    schema = value.get("schema") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(schema, str) or not schema.startswith(_FAMILY):
        return None
    if schema != SCHEMA:
        raise ModelFileError(f"{path} has the schema {schema!r}; this version reads {SCHEMA!r}", hint=_HINT)
    return _decode(path, {"name": path.stem, **value})


def _decode(path: Path, value: dict[str, object]) -> ArtifactRecord:
    preprocessing = value.pop("preprocessing", None)
    try:
        record = decode(ArtifactRecord, value, str(path), ignore_unknown=True)
        if preprocessing is None:
            return record
        return replace(record, preprocessing=Preprocessing.from_json(preprocessing))  # a field too many is refused
    except (DecodeError, PreprocessingError) as error:
        message = str(error) if isinstance(error, DecodeError) else f"{path}: {error}"
        raise ModelFileError(message, hint=_HINT) from error


def _digest(model: Path) -> str:
    try:
        return sha256_of(model)
    except OSError as error:
        raise ModelFileError(
            f"cannot read the model {model}: {error.strerror or error}", hint="check the path"
        ) from error
