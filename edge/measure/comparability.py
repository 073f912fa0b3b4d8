"""Finds reasons not to compare two measurements: different devices, threads or runtimes, or invalid ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from devices.registry import DEVICES, KINDS
from edge.measure.measurement import DeviceRef, Measurement
from edge.report.terminal.text_layout import wrap


def objections(before: Sequence[Measurement], after: Sequence[Measurement]) -> tuple[str, ...]:
    """Return why the two sides must not be compared, as sentences; empty if they may."""
    return (*_differences(before, after), *_invalid("first", before), *_invalid("second", after))


def objections_listed(before: Sequence[Measurement], after: Sequence[Measurement]) -> list[str]:
    """Return the objections as lines for a terminal of 80 columns, each reason of an invalid measurement apart."""
    told = [wrap(each, "  ") for each in _differences(before, after)]
    for side, measurements in (("first", before), ("second", after)):
        for each in measurements:
            if not each.validity.valid:
                told += _invalid_listed(side, each)
    return [line for lines in told for line in lines]


def _invalid_listed(side: str, measurement: Measurement) -> list[list[str]]:
    """Return paragraphs: one if it fits a line, else a heading and one for each reason."""
    whole = [wrap(each, "  ") for each in _invalid(side, [measurement])]
    if sum(map(len, whole)) <= 1:
        return whole
    reasons = [wrap(each, "    - ") for each in measurement.validity.reasons]
    return [[f"  the {side} measurement is invalid:"], *reasons]


def is_emulated(device: DeviceRef) -> bool:
    """Return whether a device shows only instructions, by the kind in its facts or by its name."""
    named = DEVICES.get(device.name)
    kinds = (KINDS.get(str(device.facts.get("kind"))), KINDS[named.kind] if named else None)
    return any(kind is not None and kind.measures == "instructions" for kind in kinds)


def _differences(before: Sequence[Measurement], after: Sequence[Measurement]) -> list[str]:
    found = []
    for what, of in _MUST_AGREE.items():
        first, second = sorted({of(each) for each in before}), sorted({of(each) for each in after})
        if first != second or len(first) > 1:
            found.append(f"the {what} differ: {' and '.join(first)} against {' and '.join(second)}")
    return found


def _invalid(side: str, measurements: Sequence[Measurement]) -> list[str]:
    return [
        f"the {side} measurement is invalid ({'; '.join(each.validity.reasons) or 'no reason stated'})"
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
