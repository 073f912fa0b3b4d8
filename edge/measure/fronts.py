"""Finds the Pareto front of the variants on a board: those that no other beats in speed, size and accuracy at once.

Speed is the median latency where a board was measured and the instructions of an inference where it was emulated; the
two are never in one group, nor are two boards, two runtimes or two numbers of threads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from converters.printable import one_line
from edge.measure.comparability import hardware, is_emulated
from edge.measure.measurement import Measurement, RecordedAccuracy
from edge.measure.sparse_verdict import sparse_alarm

Standing = Literal["front", "dominated", "not judged"]
Speed = Literal["latency", "instructions"]
ACCURACY_UNKNOWN = "its accuracy is unknown"


@dataclass(frozen=True)
class MeasuredVariant:
    """One measurement, with what is known of its file's accuracy."""

    measurement: Measurement
    accuracy: RecordedAccuracy | None

    @property
    def speed(self) -> Speed | None:
        """The kind of speed it has; None for none. Time under emulation is not a speed."""
        if is_emulated(self.measurement.device):
            return "instructions" if self.measurement.instructions else None
        return "latency" if self.measurement.latency_ms else None


@dataclass(frozen=True)
class Point:
    """One variant with its objectives; `standing` says whether it is on the front, `why` the reason if not.

    Either `median_ms` or `instructions` is given, as the front's `speed` states.
    """

    label: str
    sha256: str
    median_ms: float | None
    instructions: float | None
    model_bytes: int
    accuracy: RecordedAccuracy | None
    standing: Standing
    why: str | None

    @property
    def cost(self) -> float:
        """Milliseconds or instructions: comparable within one front only."""
        cost = self.median_ms if self.median_ms is not None else self.instructions
        assert cost is not None
        return cost

    @property
    def share(self) -> float | None:
        """Right answers, as a share of 1."""
        return self.accuracy.correct / self.accuracy.of if self.accuracy and self.accuracy.of else None


@dataclass(frozen=True)
class Front:
    """All variants measured alike: one device, one runtime, one thread count, one kind of speed."""

    device: str
    runtime: str
    threads: int
    speed: Speed
    objectives: tuple[str, ...]
    points: tuple[Point, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the value as `json.dumps` takes it."""
        return {**asdict(self), "objectives": list(self.objectives), "points": [asdict(p) for p in self.points]}


def groups(variants: Iterable[MeasuredVariant]) -> tuple[tuple[MeasuredVariant, ...], ...]:
    """Return the variants that may be compared, group by group, in the order given; those without speed are left out.

    Two machines of one name are two devices.
    """
    found: dict[tuple[object, ...], list[MeasuredVariant]] = {}
    for each in variants:
        if each.speed is not None:
            one = each.measurement
            key = (one.device.name, hardware(one), runtime_of(one), one.threads, each.speed)
            found.setdefault(key, []).append(each)
    return tuple(map(tuple, found.values()))


def front_of(members: Sequence[MeasuredVariant]) -> Front:
    """Find the Pareto front of one of `groups`. Points are named by their artifacts.

    Invalid measurements are not judged, nor those whose sparse kernels ran differently than predicted or compute wrong
    results. Accuracy is an objective as soon as two judged variants have one; a variant whose accuracy is unknown is
    then not judged either; nothing is assumed. Counts of instructions are compared in three digits, as they are shown:
    they repeat to a tenth of a percent, and a smaller difference is none.
    """
    sound = [each for each in members if objection(each.measurement) is None]
    known = [each for each in sound if each.accuracy is not None]
    with_accuracy = len(known) >= 2
    judged = known if with_accuracy else sound
    first = members[0]
    assert first.speed is not None
    objectives = (first.speed, "size", "accuracy") if with_accuracy else (first.speed, "size")
    labels = number_equal_labels([one_line(each.measurement.artifact.name) for each in members])
    return Front(
        device=first.measurement.device.name,
        runtime=runtime_of(first.measurement),
        threads=first.measurement.threads,
        speed=first.speed,
        objectives=objectives,
        points=tuple(
            _point(each, judged, label=label, with_accuracy=with_accuracy)
            for each, label in zip(members, labels, strict=True)
        ),
    )


def objection(measurement: Measurement) -> str | None:
    """Return why a measurement cannot be used; None where it can."""
    if not measurement.validity.valid:
        return "the measurement is invalid"
    if sparse_alarm(measurement) is None:
        return None
    verdict = measurement.sparse_verdict
    wrong = verdict is not None and verdict.predicted.corrupts
    return "its results would be wrong there" if wrong else "predicted and observed sparse kernels disagree"


def runtime_of(measurement: Measurement) -> str:
    """Return name and version of the runtime."""
    return f"{measurement.runtime.name} {measurement.runtime.version}"


def _point(variant: MeasuredVariant, judged: Sequence[MeasuredVariant], *, label: str, with_accuracy: bool) -> Point:
    standing, why = _standing(variant, judged, with_accuracy=with_accuracy)
    one, emulated = variant.measurement, variant.speed == "instructions"
    return Point(
        label=label,
        sha256=one.artifact.sha256,
        median_ms=one.latency_ms.median if one.latency_ms and not emulated else None,
        instructions=one.instructions.per_inference if one.instructions and emulated else None,
        model_bytes=one.memory.model_bytes,
        accuracy=variant.accuracy,
        standing=standing,
        why=why,
    )


def _standing(
    variant: MeasuredVariant, judged: Sequence[MeasuredVariant], *, with_accuracy: bool
) -> tuple[Standing, str | None]:
    against = objection(variant.measurement)
    if against is not None:
        return "not judged", against
    if not any(each is variant for each in judged):
        return "not judged", ACCURACY_UNKNOWN
    own = _costs(variant, with_accuracy=with_accuracy)
    for other in judged:
        if _beats(_costs(other, with_accuracy=with_accuracy), own):
            return (
                "dominated",
                f"{one_line(other.measurement.artifact.name)} is no worse in any respect and better in one",
            )
    return "front", None


def _costs(variant: MeasuredVariant, *, with_accuracy: bool) -> tuple[float, ...]:
    one, accuracy = variant.measurement, variant.accuracy
    if variant.speed == "instructions" and one.instructions is not None:
        speed = float(f"{one.instructions.per_inference:.2e}")
    else:
        assert one.latency_ms is not None
        speed = one.latency_ms.median
    costs: tuple[float, ...] = (speed, one.memory.model_bytes)
    return (*costs, -accuracy.correct / accuracy.of) if with_accuracy and accuracy else costs


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and one != other


def number_equal_labels(labels: Sequence[str]) -> list[str]:
    """Return labels that are all different: equal ones get numbers."""
    total, seen, numbered = Counter(labels), Counter[str](), []
    for label in labels:
        seen[label] += 1
        numbered.append(f"{label} #{seen[label]}" if total[label] > 1 else label)
    return numbered
