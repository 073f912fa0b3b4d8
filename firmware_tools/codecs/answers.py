"""What the meters that are asked, or that send reports, have in common: frames of one length, found in a stream.

Such a frame has no end mark, so its place is searched: at each byte, a frame either checks out or it does not. Bytes in
front of a frame are thrown away; each frame's length of them, or part of it, counts as one damaged frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from firmware_tools.codecs.framing import arrival_times
from firmware_tools.trace import Trace

# One sample: volts, amperes, watts.
Sample = tuple[float, float, float]


@dataclass(frozen=True)
class Waiting:
    """Bytes that may begin a frame, how many were thrown away since the last one, and the time of the last sample."""

    pending: bytes = b""
    thrown: int = 0
    before_s: float | None = None


def found(
    waiting: Waiting, data: bytes, *, length: int, likely: Callable[[bytes, int], int], good: Callable[[bytes], bool]
) -> tuple[list[bytes], int, Waiting]:
    """Take whole frames out of a stream.

    Args:
        waiting: What the last call left.
        data: What came since.
        length: Of a frame.
        likely: The first place, from a place on, where a frame may begin, as far as it looks; it may look only at the
            `length` bytes from each place on.
        good: Whether a frame checks out.

    Returns:
        The frames, how many are damaged, and what is left.
    """
    stream, place, thrown, damaged = waiting.pending + data, 0, waiting.thrown, 0
    frames = []
    while place + length <= len(stream):
        skip = min(likely(stream, place), len(stream) - length + 1) - place
        if not skip and not good(stream[place : place + length]):
            skip = 1
        if skip:
            damaged += -(-(thrown + skip) // length) - -(-thrown // length)
            place, thrown = place + skip, thrown + skip
        else:
            frames.append(stream[place : place + length])
            place, thrown = place + length, 0
    return frames, damaged, replace(waiting, pending=stream[place:], thrown=thrown)


def arrived(
    waiting: Waiting, samples: Sequence[Sample], host_s: float, *, nominal_s: float | None, damaged: int
) -> tuple[Trace, Waiting]:
    """Return samples of a meter without a clock as a trace; their times follow from their arrival."""
    if not samples:
        return Trace.empty(damaged=damaged), waiting
    times = arrival_times(waiting.before_s, host_s, len(samples), nominal_s)
    supply_v, current_a, power_w = np.array(samples, np.float64).T
    trace = Trace(times, power_w, supply_v, current_a, np.zeros(len(samples), np.uint8), 0, damaged)
    return trace, replace(waiting, before_s=float(times[-1]))
