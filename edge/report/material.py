"""Reading what a report is made of: measurement files and, beside them, artifact files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.decode import Count, DecodeError, decode, parse_json
from edge.errors import InputError
from edge.measure.measurement import Measurement, RecordedAccuracy
from edge.measure.measurement_files import load_measurements

ARTIFACT_SCHEMA = "edge-artifact/1"
_HINT = "artifact files are what `edge convert` writes beside each .tflite"


@dataclass(frozen=True)
class Artifact:
    """The part of an artifact JSON that a report tells: where the file came from and how near it is to its source."""

    name: str
    sha256: str
    bytes: Count
    created: str | None
    source: Mapping[str, Any]
    recipe: Mapping[str, Any]
    tools: Mapping[str, Any]
    calibration: Mapping[str, Any] | None
    parity: Mapping[str, Any] | None

    @property
    def accuracy(self) -> RecordedAccuracy | None:
        """Right answers counted when it was converted, where they were."""
        return accuracy_of(self.parity)


@dataclass(frozen=True)
class Material:
    """All that was read, in the order given, each thing once."""

    measurements: tuple[Measurement, ...]
    artifacts: tuple[Artifact, ...]


def accuracy_of(parity: Mapping[str, Any] | None) -> RecordedAccuracy | None:
    """Return the accuracy inside a parity record, None where none was counted."""
    counted = (parity or {}).get("accuracy")
    if not isinstance(counted, Mapping):
        return None
    correct, of = counted.get("correct"), counted.get("of")
    if not isinstance(correct, int) or not isinstance(of, int) or not 0 <= correct <= of or of == 0:
        return None
    return RecordedAccuracy(correct=correct, of=of)


def read_material(paths: Sequence[Path]) -> Material:
    """Read measurement files (one measurement or a list each) and artifact files, told apart by their schema.

    Raises:
        InputError: A file is missing, not JSON, of another schema or damaged, or no file holds a measurement.
    """
    measurements: list[Measurement] = []
    artifacts: list[Artifact] = []
    for path in paths:
        if (artifact := _read_artifact(path)) is not None:
            artifacts.append(artifact)
        else:
            measurements.extend(load_measurements(path))
    if not measurements:
        raise InputError(
            f"no measurement among {_files(paths)}: {len(artifacts)} of {len(paths)} are artifacts",
            hint="make one with `edge profile MODEL.tflite --out FILE.json`; artifacts only add to it",
        )
    return Material(measurements=_once(measurements), artifacts=_once(artifacts))


def _read_artifact(path: Path) -> Artifact | None:
    try:
        value: Any = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None  # load_measurements names what is wrong
    schema = value.get("schema") if isinstance(value, dict) else None
    if not isinstance(schema, str) or not schema.startswith("edge-artifact/"):
        return None
    if schema != ARTIFACT_SCHEMA:
        raise InputError(f"{path}: schema is {schema}, this edge reads {ARTIFACT_SCHEMA}", hint=_HINT)
    names = Artifact.__dataclass_fields__
    known = {name: value[name] for name in names if name in value}
    optional = dict.fromkeys(("created", "calibration", "parity"))
    try:
        return decode(Artifact, {**optional, **known}, str(path))
    except DecodeError as error:
        raise InputError(str(error), hint=_HINT) from error


def _files(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths) or "no files at all"


def _once(items: Iterable[Any]) -> tuple[Any, ...]:
    kept: list[Any] = []
    for item in items:
        if item not in kept:
            kept.append(item)
    return tuple(kept)
