"""Waits until a board is cool before it is measured, and sums up how it fared under minutes of load."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge.agent.messages import SustainPoint, SustainResult
from edge.measure.conditions import ConditionsSample
from edge.measure.findings import CoolDown, Sustained, SustainedPoint
from edge.measure.statistics import median

# Of a series' begin and end, so much is compared: one point alone may be an outlier.
_ENDS = 0.1
BELOW, STABLE, DEADLINE = "below the limit", "no longer falling", "the longest wait"


@dataclass(frozen=True)
class Cooling:
    """The criteria for a cool board: below `limit_c`, or less than `stable_c` colder than `stable_s` ago.

    A board may never get below the limit: an idle Raspberry Pi 4 without a heat sink stays near 55 C.
    """

    limit_c: float = 50.0
    longest_s: float = 300.0
    stable_c: float = 1.0
    stable_s: float = 20.0
    interval_s: float = 2.0


def cool_down(
    read_c: Callable[[], float | None], criteria: Cooling, *, on_wait: Callable[[float], None] | None = None
) -> CoolDown | None:
    """Wait until the board is cool or stops cooling, or until the longest wait is over.

    Args:
        read_c: Reads the processor's temperature, None where the board reports none.
        criteria: The board is cool when it meets them.
        on_wait: Called with each temperature that was too high.

    Returns:
        The wait and its end; None where the board reports no temperature.
    """
    begin, first = time.monotonic(), read_c()
    if first is None:
        return None
    seen = [(0.0, first)]
    while (ended_by := _find_end(seen, criteria)) is None:
        if on_wait is not None:
            on_wait(seen[-1][1])
        time.sleep(criteria.interval_s)
        now = read_c()
        seen.append((time.monotonic() - begin, seen[-1][1] if now is None else now))
    return CoolDown(waited_s=seen[-1][0], begin_c=first, end_c=seen[-1][1], limit_c=criteria.limit_c, ended_by=ended_by)


def _find_end(seen: list[tuple[float, float]], criteria: Cooling) -> str | None:
    now_s, now_c = seen[-1]
    if now_c <= criteria.limit_c:
        return BELOW
    if now_s >= criteria.longest_s:
        return DEADLINE
    past = [degrees for when_s, degrees in seen if when_s <= now_s - criteria.stable_s]
    return STABLE if past and past[-1] - now_c < criteria.stable_c else None


def sum_up_sustained(result: SustainResult, threads: int) -> Sustained | None:
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
