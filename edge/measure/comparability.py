"""Finds objections to comparing two measurements: another device, threads or runtime, or an invalid measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from devices.registry import DEVICES, KINDS
from edge.errors import InputError
from edge.measure.measurement import DeviceRef, Measurement


@dataclass(frozen=True)
class Objection:
    """Why two sides must not be compared; `reasons` are those of a measurement that is invalid."""

    text: str
    reasons: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return self.text if self.reasons is None else f"{self.text} ({'; '.join(self.reasons) or 'no reason stated'})"


class NotComparable(InputError):  # noqa: N818  (what happened, not a kind of error)
    """The two sides of a model must not be compared; `objections` say why."""

    def __init__(self, name: str, objections: Sequence[Objection]) -> None:
        super().__init__(
            f"{name} cannot be compared: {'; '.join(map(str, objections))}",
            hint="measure both again under the same conditions, or compare them with --force",
        )
        self.name = name
        self.objections = tuple(objections)


def find_objections(before: Sequence[Measurement], after: Sequence[Measurement]) -> tuple[Objection, ...]:
    """Return why the two sides must not be compared; empty if they may."""
    return (*_differences(before, after), *_invalid("first", before), *_invalid("second", after))


def is_emulated(device: DeviceRef) -> bool:
    """Return whether a device shows only instructions, by the kind in its facts or by its name."""
    named = DEVICES.get(device.name)
    kinds = (KINDS.get(str(device.facts.get("kind"))), KINDS[named.kind] if named else None)
    return any(kind is not None and kind.measures == "instructions" for kind in kinds)


def _differences(before: Sequence[Measurement], after: Sequence[Measurement]) -> list[Objection]:
    found = []
    for what, of in _MUST_AGREE.items():
        first, second = sorted({of(each) for each in before}), sorted({of(each) for each in after})
        if first != second or len(first) > 1:
            found.append(Objection(f"the {what} differ: {' and '.join(first)} against {' and '.join(second)}"))
    return found


def _invalid(side: str, measurements: Sequence[Measurement]) -> list[Objection]:
    return [
        Objection(f"the {side} measurement is invalid", each.validity.reasons)
        for each in measurements
        if not each.validity.valid
    ]


def hardware(measurement: Measurement) -> str:
    """Return the device's name and its reported hardware, which distinguishes machines of one name ("local")."""
    facts = measurement.device.facts
    cpu = facts.get("cpu")
    parts = cpu if isinstance(cpu, Mapping) else {}
    cores = None if parts.get("cores") is None else f"{parts['cores']} cores"
    stated = [str(each) for each in (facts.get("board"), parts.get("model"), cores) if each is not None]
    return f"{measurement.device.name} ({', '.join(stated)})" if stated else measurement.device.name


_MUST_AGREE: dict[str, Callable[[Measurement], str]] = {
    "devices": hardware,
    "thread counts": lambda each: str(each.threads),
    "runtimes": lambda each: f"{each.runtime.name} {each.runtime.version}",
}
