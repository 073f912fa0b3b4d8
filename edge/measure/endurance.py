"""Records latency, heat and clock over minutes of load, and the cooling before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from converters.decode import AtLeast, Count, NonNegative
from edge.agent.messages import SustainPoint, SustainResult
from edge.measure.conditions import ConditionsSample
from edge.measure.statistics import median

# Of a series' begin and end, so much is compared: one point alone may be an outlier.
_ENDS = 0.1


@dataclass(frozen=True)
class CoolDown:
    """The wait before a measurement: its length, its first and last temperature, and what ended it."""

    waited_s: NonNegative
    begin_c: float
    end_c: float
    limit_c: float
    ended_by: str


@dataclass(frozen=True)
class SustainedPoint:
    """The end of one stretch of inferences; `throttled` holds the firmware's reports then, None if unknown."""

    time_s: NonNegative
    median_ms: NonNegative
    runs: Count
    temperature_c: float | None
    clock_mhz: NonNegative | None
    throttled: tuple[str, ...] | None


@dataclass(frozen=True)
class Sustained:
    """Latency, heat and clock over time under continuous load.

    `first_ms` and `last_ms` are the medians over the first and last tenth of the points; `change` is last / first - 1.
    """

    threads: Count
    duration_s: NonNegative
    first_ms: NonNegative
    last_ms: NonNegative
    change: Annotated[float, AtLeast(-1)]
    points: tuple[SustainedPoint, ...]

    def throttled_from_s(self) -> float | None:
        """Return when the firmware first reported throttling; None if it never did, or reports nothing."""
        return next((point.time_s for point in self.points if point.throttled), None)


def sustained_of(result: SustainResult, threads: int) -> Sustained | None:
    """Read the result of the agent's job `sustain`; None if it holds no point."""
    points = tuple(_point(each) for each in result.points)
    if not points:
        return None
    ends = max(1, round(len(points) * _ENDS))
    first_ms, last_ms = _median_ms(points[:ends]), _median_ms(points[-ends:])
    return Sustained(
        threads=threads,
        duration_s=points[-1].time_s,
        first_ms=first_ms,
        last_ms=last_ms,
        change=last_ms / first_ms - 1 if first_ms > 0 else 0.0,
        points=points,
    )


def sustained_in_words(loaded: Sustained) -> str:
    """Return a summary as one sentence without a full stop."""
    degrees = [point.temperature_c for point in loaded.points if point.temperature_c is not None]
    clocks = [point.clock_mhz for point in loaded.points if point.clock_mhz is not None]
    begun_s = loaded.throttled_from_s()
    reported = sorted({name for point in loaded.points for name in point.throttled or ()})
    parts = [
        f"{_lasting(loaded.duration_s)}, median {loaded.first_ms:.4g} ms at first, {loaded.last_ms:.4g} ms at last "
        f"({loaded.change:+.1%})",
        f"{degrees[0]:.1f} to {degrees[-1]:.1f} C" if degrees else "temperature unknown",
        f"clock {min(clocks):.0f} to {max(clocks):.0f} MHz" if clocks else "clock unknown",
    ]
    if begun_s is not None:
        parts.append(f"the firmware reported {', '.join(reported)} from {_lasting(begun_s)} on")
    return "; ".join(parts)


def _lasting(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _median_ms(points: Sequence[SustainedPoint]) -> float:
    return median([point.median_ms for point in points])


def _point(point: SustainPoint) -> SustainedPoint:
    sample = ConditionsSample.of(point.conditions)
    return SustainedPoint(
        time_s=point.time_s,
        median_ms=point.median_ns / 1e6,
        runs=point.runs,
        temperature_c=sample.temperature_c,
        clock_mhz=None if sample.clock_khz is None else sample.clock_khz / 1e3,
        throttled=sample.throttled_now,
    )
