"""Reads a meter until a condition of the test holds, however long the machine takes."""

from __future__ import annotations

import time

from devices.meters.recorder import gather
from firmware_tools.trace import Trace

DEADLINE_S = 60.0


def read_until(meter, enough, after_part=None):
    """Read until `enough` says so of the whole trace, and return that; `after_part` is told how many parts came."""
    parts = []

    def take(trace, arrived_s):
        parts.append(trace)
        if after_part is not None:
            after_part(len(parts))

    gather(meter, take, seconds=DEADLINE_S, stopped=lambda: enough(Trace.concatenate(parts)))
    trace = Trace.concatenate(parts)
    assert enough(trace), f"{len(trace)} samples came in {DEADLINE_S:g} s"
    return trace


def samples(count):
    """Return the wish for so many samples."""
    return lambda trace: len(trace) >= count


def wait_until(condition):
    """Wait until something has come about."""
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.01)
