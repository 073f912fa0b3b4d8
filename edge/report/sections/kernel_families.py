"""Kernel names as families, so that one colour means one kind of kernel whatever the number type."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from edge.measure.measurement import Measurement
from edge.report.entries import Entry

OTHER = "other kernels"
OUTSIDE = "outside kernels"
TOP = 6


@dataclass(frozen=True)
class Share:
    """Time of one family in one entry, per inference."""

    label: str
    family: str
    time_us: float


def family_of(kernel: str) -> str:
    """Return "Convolution IGEMM" for "Convolution (NHWC, QC8) IGEMM": the layout and number type are left out."""
    return " ".join(re.sub(r"\([^()]*\)", " ", kernel).split()) or kernel


def families(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Name the families with the largest share of time over all entries, largest first, then the rest as one.

    Shares count, not times: a slow variant does not crowd out the kernels of a fast one.
    """
    weight: defaultdict[str, float] = defaultdict(float)
    for entry in entries:
        own = _times(entry.measurement)
        total = sum(own.values()) or 1.0
        for family, time_us in own.items():
            weight[family] += time_us / total
    top = sorted(weight, key=lambda name: -weight[name])[:TOP]
    return (*top, OTHER) if len(weight) > TOP else tuple(top)


def shares(entries: Sequence[Entry], names: Sequence[str]) -> tuple[Share, ...]:
    """Return the time of each named family in each entry, and what of the inference lies outside all kernels."""
    found: list[Share] = []
    for entry in entries:
        times: defaultdict[str, float] = defaultdict(float)
        for family, time_us in _times(entry.measurement).items():
            times[family if family in names else OTHER] += time_us
        if (outside := outside_us(entry.measurement)) is not None:
            times[OUTSIDE] = outside
        ordered = [*names, OUTSIDE]
        found.extend(Share(entry.label, name, times[name]) for name in ordered if times[name] > 0)
    return tuple(found)


def outside_us(measurement: Measurement) -> float | None:
    """Return the time of an inference that no kernel accounts for; None where the whole is unknown."""
    profile = measurement.kernel_profile
    if profile is None or profile.invoke_us is None or measurement.kernels is None:
        return None
    return max(0.0, profile.invoke_us - sum(kernel.time_us or 0.0 for kernel in measurement.kernels))


def timed(measurement: Measurement) -> bool:
    """Tell whether the kernels that ran were timed: on an emulated board they are only named and counted."""
    return any(kernel.time_us is not None for kernel in measurement.kernels or ())


def _times(measurement: Measurement) -> dict[str, float]:
    times: dict[str, float] = {}
    for kernel in measurement.kernels or ():
        name = family_of(kernel.name)
        times[name] = times.get(name, 0.0) + (kernel.time_us or 0.0)
    return times
