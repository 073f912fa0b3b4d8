"""Runs the load that a power meter measures, and records its times on this machine's clock: the job `energy`.

Idle, a load code, windows of inferences, the code again, idle. Inferences go on for a while before and after each
window, so that its ends lie in the middle of steady power and a small error of the clocks costs nothing.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from devices.messages.protocol import Progress
from edge.agent.condition_sampler import make_sampler
from edge.agent.gpio import NoLine, TriggerLine, line_of
from edge.agent.load_code import ProcessorLoad, run_code
from edge.agent.messages import EnergyRequest, EnergyResult, EnergyWindowRun
from edge.agent.running import load_model, pin_processors, plausible_inputs, runtime_of
from edge.agent.timing import warm_up

if TYPE_CHECKING:
    from edge.runtime import Model

_WARM_RUNS = 3
# Between windows: long enough for a meter to see the line low.
_PAUSE_S = 0.1
Span = tuple[float, float]


@dataclass
class EventLog:
    """The changes of the trigger line, as they are made."""

    line: TriggerLine | NoLine
    marks: list[tuple[float, int, float]] = field(default_factory=list)

    def mark(self, level: int) -> None:
        """Set the line, if there is one, and note when."""
        when = self.line.set(level)
        if when is not None:
            self.marks.append((when[0], level, when[1]))


def run_energy(request: EnergyRequest, progress: Progress) -> EnergyResult:
    """Run all parts; return the stretches of idle, the codes, the windows with their inferences, and the marks."""
    setup = request.setup
    with pin_processors(setup.cpus), line_of(request.trigger) as line, ProcessorLoad(setup.threads) as load:
        model = load_model(setup)
        model.prepare(*plausible_inputs(model))
        warm_up(model.invoke, 0, _WARM_RUNS)
        return _run_parts(model, request, load, EventLog(line), progress)


def _run_parts(
    model: Model, request: EnergyRequest, load: ProcessorLoad, log: EventLog, progress: Progress
) -> EnergyResult:
    sample_conditions = make_sampler()
    conditions = [sample_conditions()]
    idle: list[Span] = []
    windows: list[EnergyWindowRun] = []

    def rest() -> None:
        progress("idle", done=len(windows), of=request.windows)
        time.sleep(request.settle_s)
        begin = time.monotonic()
        time.sleep(request.idle_s)
        idle.append((begin, time.monotonic()))

    rest()
    codes = [run_code(load, request.chip_s, log.mark, 1)]
    for done in range(1, request.windows + 1):
        time.sleep(_PAUSE_S)
        windows.append(_run_guarded(model.invoke, request, log))
        conditions.append(sample_conditions())
        progress("energy window", done=done, of=request.windows)
    codes.append(run_code(load, request.chip_s, log.mark, 2))
    rest()
    return EnergyResult(
        runtime=runtime_of(model),
        idle_s=tuple(idle),
        codes=tuple(codes),
        windows=tuple(windows),
        marks=tuple(log.marks),
        chip_s=request.chip_s,
        conditions=tuple(conditions),
    )


def _run_guarded(invoke: Callable[[], object], request: EnergyRequest, log: EventLog) -> EnergyWindowRun:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        log.mark(1)
        run_window(invoke, request.guard_s, 1)
        begin, end, runs = run_window(invoke, request.window_s, request.min_runs)
        run_window(invoke, request.guard_s, 1)
        log.mark(0)
    finally:
        if was_on:
            gc.enable()
    return EnergyWindowRun(begin, end, runs)


def run_window(invoke: Callable[[], object], seconds: float, least: int) -> tuple[float, float, int]:
    """Run inferences until both the time has passed and the count is reached; return begin, end and their number."""
    clock, runs = time.monotonic, 0
    begin = now = clock()
    while runs < least or now - begin < seconds:
        invoke()
        now = clock()
        runs += 1
    return begin, now, runs
