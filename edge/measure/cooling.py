"""Waits until a board is cool, so that a measurement does not start with the heat of the last one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from edge.measure.endurance import CoolDown

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
    while (ended_by := _ended_by(seen, criteria)) is None:
        if on_wait is not None:
            on_wait(seen[-1][1])
        time.sleep(criteria.interval_s)
        now = read_c()
        seen.append((time.monotonic() - begin, seen[-1][1] if now is None else now))
    return CoolDown(waited_s=seen[-1][0], begin_c=first, end_c=seen[-1][1], limit_c=criteria.limit_c, ended_by=ended_by)


def _ended_by(seen: list[tuple[float, float]], criteria: Cooling) -> str | None:
    now_s, now_c = seen[-1]
    if now_c <= criteria.limit_c:
        return BELOW
    if now_s >= criteria.longest_s:
        return DEADLINE
    past = [degrees for when_s, degrees in seen if when_s <= now_s - criteria.stable_s]
    return STABLE if past and past[-1] - now_c < criteria.stable_c else None
