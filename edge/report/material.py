"""Reads measurement and artifact files for a report, and gives every measurement its label."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.artifact.record import ArtifactRecord
from converters.artifact.sidecar import record_from_json
from converters.decode import encode, parse_json
from converters.errors import ModelFileError
from converters.printable import one_line
from edge.errors import InputError
from edge.measure.comparability import is_emulated
from edge.measure.fronts import number_equal_labels
from edge.measure.measurement import Latency, Measurement, RecordedAccuracy
from edge.measure.measurement_files import load_measurements
from edge.report.formatting import count_of


@dataclass(frozen=True)
class Material:
    """All that was read, in the order given, each thing once."""

    measurements: tuple[Measurement, ...]
    artifacts: tuple[ArtifactRecord, ...]


def accuracy_of(parity: Mapping[str, object] | None) -> RecordedAccuracy | None:
    """Return the accuracy inside a parity record, None where none was counted."""
    counted = (parity or {}).get("accuracy")
    if not isinstance(counted, Mapping):
        return None
    correct, of = counted.get("correct"), counted.get("of")
    if not isinstance(correct, int) or not isinstance(of, int) or not 0 <= correct <= of or of == 0:
        return None
    return RecordedAccuracy(correct=correct, of=of)


def read_material(paths: Sequence[Path]) -> Material:
    """Read measurement files (one measurement or a list each) and artifact files, recognized by their schema.

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


SEPARATOR = " · "


@dataclass(frozen=True)
class ReportEntry:
    """One measurement under the name all tables and charts use for it."""

    label: str
    measurement: Measurement
    artifact: ArtifactRecord | None

    @property
    def emulated(self) -> bool:
        """Whether an emulator stood in for the board: such figures are never mixed with measured ones."""
        return is_emulated(self.measurement.device)

    @property
    def accuracy(self) -> RecordedAccuracy | None:
        """Accuracy from the measurement, its parity record or the artifact file, in this order; None is unknown."""
        own = self.measurement.accuracy
        if own is not None and own.of > 0:
            return own
        return accuracy_of(self.measurement.artifact.parity) or accuracy_of(parity_of(self.artifact))

    @property
    def runtime(self) -> str:
        """Name and version of the runtime."""
        return f"{self.measurement.runtime.name} {self.measurement.runtime.version}"

    @property
    def valid(self) -> bool:
        """Whether no validity rule was broken."""
        return self.measurement.validity.valid

    @property
    def latencies(self) -> tuple[Latency, ...]:
        """The distributions that exist: the chosen thread count, then all cores."""
        both = (self.measurement.latency_ms, self.measurement.latency_all_cores_ms)
        return tuple(latency for latency in both if latency is not None)


def parity_of(artifact: ArtifactRecord | None) -> Mapping[str, object] | None:
    """Return the parity of an artifact's record as a measurement holds it; None where there is none."""
    return None if artifact is None or artifact.parity is None else encode(artifact.parity)


def entries_of(material: Material) -> tuple[ReportEntry, ...]:
    """Name every measurement by what sets it apart: always the artifact, then device, runtime, threads if they vary.

    What follows from the parts before it, as where each device has one runtime, is left out.
    """
    artifacts = {artifact.sha256: artifact for artifact in material.artifacts}
    labels = number_equal_labels(_labels(material.measurements))
    return tuple(
        ReportEntry(label=label, measurement=one, artifact=artifacts.get(one.artifact.sha256))
        for label, one in zip(labels, material.measurements, strict=True)
    )


_PARTS: tuple[Callable[[Measurement], str], ...] = (
    lambda one: one.device.name,
    lambda one: f"{one.runtime.name} {one.runtime.version}",
    lambda one: count_of(one.threads, "thread"),
)


def _labels(measurements: Sequence[Measurement]) -> list[str]:
    varying: list[Callable[[Measurement], str]] = []
    for part in _PARTS:
        if _kinds(measurements, [*varying, part]) > _kinds(measurements, varying):
            varying.append(part)
    return [SEPARATOR.join([one_line(one.artifact.name), *(one_line(part(one)) for part in varying)])
            for one in measurements]  # fmt: skip


def _kinds(measurements: Sequence[Measurement], parts: Sequence[Callable[[Measurement], str]]) -> int:
    return len({tuple(part(one) for part in parts) for one in measurements})
