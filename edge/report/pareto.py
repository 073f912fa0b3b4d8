"""Which variants are worth having: those no other beats in size, latency and accuracy at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edge.measure.measurement import Accuracy
from edge.report.entries import Entry

Standing = Literal["front", "dominated", "not judged"]
_Z95 = 1.959964


@dataclass(frozen=True)
class Point:
    """One variant between its objectives; `standing` says whether it is on the front, `why` the reason if not."""

    label: str
    sha256: str
    median_ms: float
    model_bytes: int
    accuracy: Accuracy | None
    standing: Standing
    why: str | None


@dataclass(frozen=True)
class Front:
    """All variants measured alike: one device, one runtime, one thread count."""

    device: str
    runtime: str
    threads: int
    objectives: tuple[str, ...]
    points: tuple[Point, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the value as `json.dumps` takes it."""
        return {**asdict(self), "objectives": list(self.objectives), "points": [asdict(p) for p in self.points]}


def fronts(entries: Sequence[Entry]) -> tuple[Front, ...]:
    """Find the Pareto front of every group of measurements that may be compared.

    Emulated entries are left out: their time is not the board's. An invalid measurement is not judged. Accuracy is an
    objective as soon as two valid variants of a group have one; a variant whose accuracy is unknown is then not
    judged, nothing is assumed for it.
    """
    groups: dict[tuple[str, str, int], list[Entry]] = {}
    for entry in entries:
        if entry.emulated or entry.measurement.latency_ms is None:
            continue
        key = (entry.measurement.device.name, entry.runtime, entry.measurement.latency_ms.threads)
        groups.setdefault(key, []).append(entry)
    return tuple(_front(*key, members) for key, members in groups.items())


def wilson(accuracy: Accuracy) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a counted accuracy, as shares of 1 (Wilson 1927, JASA 22)."""
    n, share = accuracy.of, accuracy.correct / accuracy.of
    centre = (share + _Z95**2 / (2 * n)) / (1 + _Z95**2 / n)
    half = _Z95 * math.sqrt(share * (1 - share) / n + _Z95**2 / (4 * n * n)) / (1 + _Z95**2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def _front(device: str, runtime: str, threads: int, members: Sequence[Entry]) -> Front:
    known = [entry for entry in members if entry.valid and entry.accuracy is not None]
    with_accuracy = len(known) >= 2
    judged = known if with_accuracy else [entry for entry in members if entry.valid]
    points = tuple(_point(entry, judged, with_accuracy=with_accuracy) for entry in members)
    objectives = ("latency", "size", "accuracy") if with_accuracy else ("latency", "size")
    return Front(device=device, runtime=runtime, threads=threads, objectives=objectives, points=points)


def _point(entry: Entry, judged: Sequence[Entry], *, with_accuracy: bool) -> Point:
    standing, why = _standing(entry, judged, with_accuracy=with_accuracy)
    latency = entry.measurement.latency_ms
    assert latency is not None
    return Point(
        label=entry.label,
        sha256=entry.measurement.artifact.sha256,
        median_ms=latency.median,
        model_bytes=entry.measurement.memory.model_bytes,
        accuracy=entry.accuracy,
        standing=standing,
        why=why,
    )


def _standing(entry: Entry, judged: Sequence[Entry], *, with_accuracy: bool) -> tuple[Standing, str | None]:
    if not entry.valid:
        return "not judged", "the measurement is invalid"
    if entry not in judged:
        return "not judged", "its accuracy is unknown"
    own = _costs(entry, with_accuracy=with_accuracy)
    for other in judged:
        if _beats(_costs(other, with_accuracy=with_accuracy), own):
            return "dominated", f"{other.label} is no worse in any respect and better in one"
    return "front", None


def _costs(entry: Entry, *, with_accuracy: bool) -> tuple[float, ...]:
    latency, accuracy = entry.measurement.latency_ms, entry.accuracy
    assert latency is not None
    costs: tuple[float, ...] = (latency.median, entry.measurement.memory.model_bytes)
    return (*costs, -accuracy.correct / accuracy.of) if with_accuracy and accuracy else costs


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and one != other
