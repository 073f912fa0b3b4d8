"""Reasons not to compare two measurements: another device, threads, runtime, or an invalid measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edge.measure.measurement import Measurement


def objections(before: Sequence[Measurement], after: Sequence[Measurement]) -> tuple[str, ...]:
    """Return why the two sides must not be compared, as sentences; empty if they may."""
    return (*_differences(before, after), *_invalid("first", before), *_invalid("second", after))


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


def _hardware(measurement: Measurement) -> str:
    # What tells two machines of one name apart ("local" is another one everywhere); what is not stated is left out.
    facts = measurement.device.facts
    cpu = facts.get("cpu")
    parts = cpu if isinstance(cpu, Mapping) else {}
    cores = None if parts.get("cores") is None else f"{parts['cores']} cores"
    stated = [str(each) for each in (facts.get("board"), parts.get("model"), cores) if each is not None]
    return f"{measurement.device.name} ({', '.join(stated)})" if stated else measurement.device.name


_MUST_AGREE: dict[str, Callable[[Measurement], str]] = {
    "devices": _hardware,
    "thread counts": lambda each: str(each.threads),
    "runtimes": lambda each: f"{each.runtime.name} {each.runtime.version}",
}
