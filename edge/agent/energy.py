"""The job `energy`: what a power meter watches from outside, and when each part of it was on this machine's clock.

Idle, a load code, windows of inferences, the code again, idle. Inferences go on for a while before and after each
window, so that its ends lie in the middle of steady power and a small error of the clocks costs nothing.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edge.agent.conditions import sampler
from edge.agent.gpio import NoLine, TriggerLine, line_of
from edge.agent.latency import warm_up
from edge.agent.load import Load, code
from edge.agent.model import load_model, plausible_inputs
from edge.agent.processors import pinned
from edge.agent.request import at_least, count

_WARM_RUNS = 3
# Between windows: long enough for a meter to see the line low.
_PAUSE_S = 0.1


@dataclass(frozen=True)
class Times:
    """How long each part takes."""

    idle_s: float
    settle_s: float
    chip_s: float
    guard_s: float
    windows: int
    window_s: float
    min_runs: int

    @classmethod
    def of(cls, request: dict[str, Any]) -> Times:
        """Read them from a request."""
        return cls(
            idle_s=at_least(request, "idle_s", 0),
            settle_s=at_least(request, "settle_s", 0, 1.0),
            chip_s=at_least(request, "chip_s", 0.001),
            guard_s=at_least(request, "guard_s", 0, 0.3),
            windows=count(request, "windows", 5),
            window_s=at_least(request, "window_s", 0, 10.0),
            min_runs=count(request, "min_runs", 10),
        )


@dataclass
class Diary:
    """What was done when."""

    line: TriggerLine | NoLine
    marks: list[list[float]] = field(default_factory=list)

    def mark(self, level: int) -> None:
        """Set the line, if there is one, and note when."""
        when = self.line.set(level)
        if when is not None:
            self.marks.append([when[0], level, when[1]])


def run(request: dict[str, Any], progress: Any) -> dict[str, Any]:  # noqa: ANN401
    """Answer with the stretches of idle, the codes, the windows with their numbers of inferences, and the marks."""
    times = Times.of(request)
    with pinned(request), line_of(request) as line, Load(count(request, "threads", 1)) as load:
        model = load_model(request)
        model.prepare(*plausible_inputs(model))
        warm_up(model.invoke, 0, _WARM_RUNS)
        result = measure(model.invoke, times, load, Diary(line), progress)
    return {"runtime": {"name": model.runtime.name, "version": model.runtime.version}, **result}


def measure(
    invoke: Callable[[], object],
    times: Times,
    load: Load,
    diary: Diary,
    progress: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """Run all parts in their order."""
    sample_conditions = sampler()
    conditions = [sample_conditions()]
    idle: list[list[float]] = []
    windows: list[dict[str, Any]] = []

    def rest() -> None:
        progress(stage="idle", done=len(windows), of=times.windows)
        time.sleep(times.settle_s)
        begin = time.monotonic()
        time.sleep(times.idle_s)
        idle.append([begin, time.monotonic()])

    rest()
    codes = [code(load, times.chip_s, diary.mark, 1)]
    for done in range(1, times.windows + 1):
        time.sleep(_PAUSE_S)
        windows.append(_guarded_window(invoke, times, diary))
        conditions.append(sample_conditions())
        progress(stage="energy window", done=done, of=times.windows)
    codes.append(code(load, times.chip_s, diary.mark, 2))
    rest()
    return {
        "idle_s": idle,
        "codes": codes,
        "windows": windows,
        "marks": diary.marks,
        "chip_s": times.chip_s,
        "conditions": conditions,
    }


def _guarded_window(invoke: Callable[[], object], times: Times, diary: Diary) -> dict[str, Any]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        diary.mark(1)
        window(invoke, times.guard_s, 1)
        begin, end, runs = window(invoke, times.window_s, times.min_runs)
        window(invoke, times.guard_s, 1)
        diary.mark(0)
    finally:
        if was_on:
            gc.enable()
    return {"begin_s": begin, "end_s": end, "runs": runs}


def window(invoke: Callable[[], object], seconds: float, least: int) -> tuple[float, float, int]:
    """Run inferences until both the time has passed and the count is reached; return begin, end and their number."""
    clock, runs = time.monotonic, 0
    begin = now = clock()
    while runs < least or now - begin < seconds:
        invoke()
        now = clock()
        runs += 1
    return begin, now, runs
