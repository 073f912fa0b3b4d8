"""A measurement prepared for reading: a name that tells it apart, its origin, what else is known of its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from converters.artifact.record import ArtifactRecord
from converters.decode import encode
from converters.printable import one_line
from edge.measure.comparability import is_emulated
from edge.measure.fronts import number_equal_labels
from edge.measure.measurement import Latency, Measurement, RecordedAccuracy
from edge.report.formatting import count_of
from edge.report.material import Material, accuracy_of

SEPARATOR = " · "


@dataclass(frozen=True)
class Entry:
    """One measurement under the name all tables and charts use for it."""

    label: str
    measurement: Measurement
    artifact: ArtifactRecord | None

    @property
    def emulated(self) -> bool:
        """Whether an emulator stood in for the board: such figures never stand beside measured ones."""
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


def parity_of(artifact: ArtifactRecord | None) -> Mapping[str, Any] | None:
    """Return the parity of an artifact's record as a measurement holds it; None where there is none."""
    return None if artifact is None or artifact.parity is None else encode(artifact.parity)


def entries_of(material: Material) -> tuple[Entry, ...]:
    """Name every measurement by what sets it apart: always the artifact, then device, runtime, threads if they vary.

    What follows from the parts before it, as where each device has one runtime, is left out.
    """
    artifacts = {artifact.sha256: artifact for artifact in material.artifacts}
    labels = number_equal_labels(_labels(material.measurements))
    return tuple(
        Entry(label=label, measurement=one, artifact=artifacts.get(one.artifact.sha256))
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
