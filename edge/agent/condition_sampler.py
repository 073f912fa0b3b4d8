"""Samples clock, heat, load and other processes, alone or around measured windows: the jobs `conditions` and `clock`.

None: the machine does not report it.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from devices.messages.machine_jobs import ClockRequest, ClockResult, ConditionsRequest, MachineSample, SinceSample
from devices.messages.protocol import Progress
from edge.agent import sysfs

PROC = Path("/proc")


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


class BusiestProcess(NamedTuple):
    """A process and the processor time it used between two readings."""

    pid: int
    name: str
    cpu_s: float

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


def read_clock(request: ClockRequest, progress: Progress) -> ClockResult:
    """Return the time now, in seconds."""
    return ClockResult(time.monotonic())


def sample_once(request: ConditionsRequest, progress: Progress) -> MachineSample:
    """Return one sample."""
    return make_sampler()()


def make_sampler() -> Callable[[], MachineSample]:
    """Return a function that samples the conditions, each sample counting from the one before."""
    last: Counters | None = None
    processes: dict[int, tuple[str, int]] = {}

    def sample() -> MachineSample:
        nonlocal last, processes
        until, running = Counters.read(), ticks_by_process()
        since = None if last is None else difference(last, until, find_busiest(processes, running))
        values = _sample_now(since)
        processes, last = running, Counters.read()  # what reading the values cost belongs to no window
        return values

    return sample


def difference(begin: Counters, end: Counters, busiest: BusiestProcess | None = None) -> SinceSample:
    """Return what happened between two moments."""
    wall_s = end.time_s - begin.time_s
    own_s = end.own_s - begin.own_s
    all_s = wall_s * (os.cpu_count() or 1)
    other = steal = share = None
    if begin.busy_s is not None and end.busy_s is not None and all_s > 0:
        other = min(1.0, max(0.0, (end.busy_s - begin.busy_s - own_s) / all_s))
    if begin.stolen_s is not None and end.stolen_s is not None and all_s > 0:
        steal = min(1.0, max(0.0, (end.stolen_s - begin.stolen_s) / all_s))
    if busiest is not None and all_s > 0:
        share = min(1.0, busiest.cpu_s / all_s)
    return SinceSample(
        wall_s=wall_s,
        own_cpu_s=own_s,
        other_cpu_share=other,
        steal_share=steal,
        involuntary_switches=end.involuntary_switches - begin.involuntary_switches,
        minor_faults=end.minor_faults - begin.minor_faults,
        major_faults=end.major_faults - begin.major_faults,
        busiest_process=None if share is None else str(busiest),
        busiest_process_share=share,
    )


def ticks_by_process() -> dict[int, tuple[str, int]]:
    """Return name and processor time in ticks of every process but this one; one that ends meanwhile is left out.

    Source: proc(5).
    """
    own, found = os.getpid(), {}
    for folder in os.scandir(PROC):
        if folder.name.isdecimal() and int(folder.name) != own:
            try:
                with open(f"{PROC}/{folder.name}/stat", "rb") as file:  # noqa: PTH123  (hundreds of them, between windows)
                    text = file.read()
            except OSError:
                continue
            # The name stands in parentheses and may hold any byte, also ") ": what follows begins after the last one.
            begin, end = text.find(b"("), text.rfind(b")")
            fields = text[end + 2 :].split()
            if len(fields) > 12:
                found[int(folder.name)] = (text[begin + 1 : end].decode("utf-8", "replace"),
                                           int(fields[11]) + int(fields[12]))  # fmt: skip
    return found


def find_busiest(before: dict[int, tuple[str, int]], after: dict[int, tuple[str, int]]) -> BusiestProcess | None:
    """Return the process whose time grew the most; None where none grew. One that began meanwhile counts in full."""
    grown = [(ticks - before.get(pid, (name, 0))[1], pid, name) for pid, (name, ticks) in after.items()]
    most = max(grown, default=(0, 0, ""))
    return BusiestProcess(most[1], most[2], most[0] / os.sysconf("SC_CLK_TCK")) if most[0] > 0 else None


def _sample_now(since: SinceSample | None) -> MachineSample:
    zones, word = sysfs.temperatures_c(), sysfs.throttle_word()
    return MachineSample(
        time_s=time.monotonic(),
        governor=sysfs.governor(),
        frequencies_khz=sysfs.frequencies_khz(),
        firmware_clock_khz=None if word is None else sysfs.firmware_clock_khz(),
        temperature_c=sysfs.soc_temperature_c(zones),
        temperatures_c=zones,
        edge_tpus=sysfs.edge_tpu_heat(),
        throttled=sysfs.decode_throttled(word),
        load_1min=sysfs.load_1min(),
        clock_source=sysfs.read_text(sysfs.CLOCK_SOURCE),
        since=since,
    )


def _processor_seconds() -> tuple[float | None, float | None]:
    """Return busy and stolen seconds of all processors since boot, from the first line of /proc/stat (proc(5))."""
    fields = (sysfs.read_text("/proc/stat") or "").split("\n", 1)[0].split()
    if len(fields) < 9 or fields[0] != "cpu":
        return None, None
    ticks = [int(each) for each in fields[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = (each / os.sysconf("SC_CLK_TCK") for each in ticks)
    return user + nice + system + irq + softirq + steal, steal
