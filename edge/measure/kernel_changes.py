"""Which kernel families changed between two measurements."""

from __future__ import annotations

from dataclasses import dataclass

from edge.measure.measurement import Kernel, Measurement


@dataclass(frozen=True)
class KernelChange:
    """One family before and after, per inference; None where the family did not run. Information, not a verdict."""

    name: str
    calls_before: float | None
    calls_after: float | None
    time_before_us: float | None
    time_after_us: float | None


def kernel_changes(before: Measurement, after: Measurement) -> tuple[KernelChange, ...] | None:
    """Return all families of both sides, the largest change of time first; None if a side has no kernel profile."""
    if before.kernels is None or after.kernels is None:
        return None
    first = {kernel.name: kernel for kernel in before.kernels}
    second = {kernel.name: kernel for kernel in after.kernels}
    changes = [_change(name, first.get(name), second.get(name)) for name in {**first, **second}]
    return tuple(sorted(changes, key=_size, reverse=True))


def _change(name: str, before: Kernel | None, after: Kernel | None) -> KernelChange:
    return KernelChange(
        name,
        before.calls if before else None,
        after.calls if after else None,
        before.time_us if before else None,
        after.time_us if after else None,
    )


def _size(change: KernelChange) -> float:
    return abs((change.time_after_us or 0.0) - (change.time_before_us or 0.0))
