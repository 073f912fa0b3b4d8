"""The job `conditions`, and the samples of it around measured windows: clock, heat, load and other processes.

A sample is a dict of plain values; what the machine does not say is None. Its `since` is None in the first sample and
else what happened between the sample before and this one.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge.agent import sysfs
from edge.agent.processes import Busiest, busiest, ticks_by_process

# Bits of `vcgencmd get_throttled`; 16 higher: the same since boot. Source: raspberrypi/utils, vcgencmd/vcgencmd.1
THROTTLE_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
SINCE_BOOT = 16


@dataclass(frozen=True)
class Counters:
    """Counters at one moment; their differences describe a window."""

    time_s: float
    busy_s: float | None  # all processors, all processes, time stolen by the hypervisor included
    stolen_s: float | None
    own_s: float
    involuntary_switches: int
    minor_faults: int
    major_faults: int

    @classmethod
    def read(cls) -> Counters:
        """Read them now."""
        busy_s, stolen_s = _processor_seconds()
        own = resource.getrusage(resource.RUSAGE_SELF)
        return cls(
            time_s=time.monotonic(),
            busy_s=busy_s,
            stolen_s=stolen_s,
            own_s=own.ru_utime + own.ru_stime,
            involuntary_switches=own.ru_nivcsw,
            minor_faults=own.ru_minflt,
            major_faults=own.ru_majflt,
        )


def run(request: dict[str, Any], progress: object) -> dict[str, Any]:
    """Answer with one sample."""
    return sampler()()


def sampler() -> Callable[[], dict[str, Any]]:
    """Return a function that samples the conditions, each sample counting from the one before."""
    last: Counters | None = None
    processes: dict[int, tuple[str, int]] = {}

    def sample() -> dict[str, Any]:
        nonlocal last, processes
        until, running = Counters.read(), ticks_by_process()
        values = _now()
        if last is None:
            values["since"] = None
        else:
            values["since"] = {**difference(last, until), **_named(busiest(processes, running), last, until)}
        processes, last = running, Counters.read()  # what reading the values cost belongs to no window
        return values

    return sample


def difference(begin: Counters, end: Counters) -> dict[str, Any]:
    """Return what happened between two moments.

    `other_cpu_share` and `steal_share` are shares of all processors together, 0 to 1; the kernel counts in ticks of
    10 ms, so that short windows are coarse. Stolen time counts as other.
    """
    wall_s = end.time_s - begin.time_s
    own_s = end.own_s - begin.own_s
    all_s = wall_s * (os.cpu_count() or 1)
    other = steal = None
    if begin.busy_s is not None and end.busy_s is not None and all_s > 0:
        other = min(1.0, max(0.0, (end.busy_s - begin.busy_s - own_s) / all_s))
    if begin.stolen_s is not None and end.stolen_s is not None and all_s > 0:
        steal = min(1.0, max(0.0, (end.stolen_s - begin.stolen_s) / all_s))
    return {
        "wall_s": wall_s,
        "own_cpu_s": own_s,
        "other_cpu_share": other,
        "steal_share": steal,
        "involuntary_switches": end.involuntary_switches - begin.involuntary_switches,
        "minor_faults": end.minor_faults - begin.minor_faults,
        "major_faults": end.major_faults - begin.major_faults,
    }


def _named(found: Busiest | None, begin: Counters, end: Counters) -> dict[str, Any]:
    """Return the other process that used the most processor time, and its share of all processors together."""
    all_s = (end.time_s - begin.time_s) * (os.cpu_count() or 1)
    if found is None or all_s <= 0:
        return {"busiest_process": None, "busiest_process_share": None}
    return {"busiest_process": str(found), "busiest_process_share": min(1.0, found.cpu_s / all_s)}


def decode_throttled(word: int | None) -> dict[str, Any] | None:
    """Return the firmware's throttle word with its bits by name."""
    if word is None:
        return None
    return {
        "word": hex(word),
        "now": [name for bit, name in THROTTLE_BITS.items() if word >> bit & 1],
        "since_boot": [name for bit, name in THROTTLE_BITS.items() if word >> bit >> SINCE_BOOT & 1],
    }


def _now() -> dict[str, Any]:
    zones, word = sysfs.temperatures_c(), sysfs.throttled_word()
    return {
        "time_s": time.monotonic(),
        "governor": sysfs.governor(),
        "frequencies_khz": sysfs.frequencies_khz(),
        "firmware_clock_khz": None if word is None else sysfs.firmware_clock_khz(),
        "temperature_c": sysfs.soc_temperature_c(zones),
        "temperatures_c": zones,
        "edge_tpus": sysfs.edge_tpus(),
        "throttled": decode_throttled(word),
        "load_1min": sysfs.load_1min(),
        "clock_source": sysfs.read_text(sysfs.CLOCK_SOURCE),
    }


def _processor_seconds() -> tuple[float | None, float | None]:
    """Return busy and stolen seconds of all processors since boot, from the first line of /proc/stat (proc(5))."""
    fields = (sysfs.read_text("/proc/stat") or "").split("\n", 1)[0].split()
    if len(fields) < 9 or fields[0] != "cpu":
        return None, None
    ticks = [int(each) for each in fields[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = (each / os.sysconf("SC_CLK_TCK") for each in ticks)
    return user + nice + system + irq + softirq + steal, steal
