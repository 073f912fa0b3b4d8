"""Reads what a report is made of: measurement files and artifact files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.artifact.record import ArtifactRecord
from converters.artifact.sidecar import record_from_json
from converters.decode import parse_json
from converters.errors import ModelFileError
from edge.errors import InputError
from edge.measure.measurement import Measurement, RecordedAccuracy
from edge.measure.measurement_files import load_measurements


@dataclass(frozen=True)
class Material:
    """All that was read, in the order given, each thing once."""

    measurements: tuple[Measurement, ...]
    artifacts: tuple[ArtifactRecord, ...]


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
    artifacts: list[ArtifactRecord] = []
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


def _read_artifact(path: Path) -> ArtifactRecord | None:
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None  # load_measurements names what is wrong
    try:
        return record_from_json(value, path)
    except ModelFileError as error:
        raise InputError(str(error), hint=error.hint) from error


def _files(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths) or "no files at all"


def _once(items: Iterable[Any]) -> tuple[Any, ...]:
    kept: list[Any] = []
    for item in items:
        if item not in kept:
            kept.append(item)
    return tuple(kept)
